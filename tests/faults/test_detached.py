"""A detached run lives without whoever started it, and its end is told and recorded all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixvllm.server.processes import ProcessId, send_signal
from mixvllm.server.stopping import stop_runs
from tests.fakes.fake_server import is_alive
from tests.faults.launched import Launched, LaunchFake
from tests.faults.nothing_left import assert_nothing_left
from tests.written_runs import wait_for

Detach = Callable[..., Launched]


@pytest.fixture
def detach(launch_fake: LaunchFake) -> Iterator[Detach]:
    """Return a function that launches the fake detached; its launcher is ended too when the test is over."""
    started: list[Launched] = []

    def detach_one(*arguments: str, **script: Any) -> Launched:
        started.append(launch_fake("detach=true", *arguments, **script))
        return started[-1]

    yield detach_one
    for one in started:
        end(one)


def end(one: Launched) -> None:
    """Kill the launcher in the background, and wait until its guardian has ended the rest."""
    if "supervisor" in one.status():
        send_signal(ProcessId(**one.status()["supervisor"]), signal.SIGKILL)
        wait_for(lambda: not one.witness.left())


def stop(one: Launched) -> None:
    """Stop the run as `mixvllm stop` does, and check that nothing of it is left."""
    one.witness.note()
    stop_runs([one.folder], timeout_s=20)
    wait_for(lambda: not is_alive(one.role("supervisor")))
    assert assert_nothing_left(one.witness)["state"] == "stopped"


def test_a_detached_launch_returns_0_when_it_serves_and_leaves_it_running_in_a_session_of_its_own(
    detach: Detach,
) -> None:
    one = detach()

    assert (one.launch.exit_code(), one.status()["state"], one.status()["detached"]) == (0, "ready", True)
    assert f"stop  mixvllm stop {one.folder.name}" in one.launch.stdout
    supervisor = one.role("supervisor")
    streams = {str(Path(f"/proc/{supervisor}/fd/{number}").readlink()) for number in (0, 1, 2)}
    assert (os.getsid(supervisor), streams) == (supervisor, {"/dev/null", str(one.folder.supervisor_log)})
    stop(one)


def test_a_detached_launch_that_fails_returns_1_with_the_cause(detach: Detach) -> None:
    one = detach(die_in="weights", die_log=["ValueError: the cause of it all"])

    assert one.launch.exit_code() == 1
    assert "the cause of it all" in one.launch.stderr
    assert assert_nothing_left(one.witness)["state"] == "failed"


def test_an_interrupt_before_it_is_ready_ends_the_run_with_it(detach: Detach) -> None:
    one = detach(hang_in="weights")
    one.wait_state("starting", "weights")
    one.kill(one.launch.process.pid, number=signal.SIGINT)

    assert one.launch.exit_code() == 130
    assert assert_nothing_left(one.witness)["state"] == "stopped"


def test_a_hangup_has_it_reload_and_not_stop(detach: Detach) -> None:
    one = detach()
    one.launch.exit_code()
    os.kill(one.role("supervisor"), signal.SIGHUP)
    wait_for(one.folder.reload_answer.exists)

    assert (json.loads(one.folder.reload_answer.read_text())["state"], one.names[-1]) == ("unchanged", "ready")
    stop(one)


def test_its_guardian_ends_the_server_when_a_detached_launcher_is_killed(detach: Detach) -> None:
    one = detach(num_workers=2)
    one.launch.exit_code()
    one.kill(one.role("supervisor"))

    status = assert_nothing_left(one.witness)

    assert (status["state"], "the launcher was killed" in status["cause"]) == ("failed", True)


def test_a_launch_says_so_when_its_launcher_in_the_background_is_killed(detach: Detach) -> None:
    one = detach(hang_in="weights")
    one.wait_state("starting", "weights")
    one.kill(one.role("supervisor"))

    assert (one.launch.exit_code(), "the launcher in the background ended" in one.launch.stderr) == (1, True)
    assert_nothing_left(one.witness)


def test_what_is_left_of_a_detached_run_is_ended_on_demand(detach: Detach) -> None:
    one = detach(num_workers=2, stubborn=True, escape="setsid")
    one.launch.exit_code()
    one.kill(one.role("supervisor"), one.role("guardian"), one.role("leader"))

    doctor = [sys.executable, "-m", "mixvllm.cli.app", "doctor", "--end"]
    found, again = (subprocess.run(doctor, capture_output=True, text=True, cwd=one.launch.folder) for _ in range(2))

    assert (found.returncode, f"orphans of {one.folder.name}" in found.stdout) == (0, True), found
    assert "launcher and guardian were killed" in assert_nothing_left(one.witness)["cause"]
    assert again.stdout == "nothing of ours is left\n"
