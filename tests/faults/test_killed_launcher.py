"""The guardian ends the server of a launcher that was killed; where it was killed as well, the next start does."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from tests.faults.launched import Launched, LaunchFake
from tests.faults.nothing_left import assert_nothing_left
from tests.written_runs import wait_for

KILLED = "the launcher was killed; its guardian stopped the server"

SEGMENT = f"psm_alone_{os.getpid()}"

ALL_KINDS: dict[str, Any] = {"num_workers": 2, "stubborn": True, "escape": "setsid", "shared_memory": SEGMENT}
"""Processes that end, that ignore signals, that left the session; and a segment that nobody removes."""


@pytest.mark.parametrize("phase", ["imports", "weights"])
def test_a_server_that_loads_is_ended_when_its_launcher_is_killed(launch_fake: LaunchFake, phase: str) -> None:
    one = launch_fake(hang_in=phase, **ALL_KINDS)
    one.wait_state("starting", None if phase == "imports" else phase)
    one.kill(one.launch.process.pid)

    status = assert_nothing_left(one.witness)

    assert (status["state"], status["cause"]) == ("failed", KILLED)


def test_a_serving_server_is_drained_and_ended_when_its_launcher_is_killed(launch_fake: LaunchFake) -> None:
    one = launch_fake("server.drain_timeout_s=10", token_delay_s=0.02, num_workers=2, shared_memory=SEGMENT)
    url = one.wait_ready()
    body = {"model": "some/model", "prompt": "x", "max_tokens": 30, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, trust_env=False) as answer:
        lines = answer.iter_lines()
        next(lines)

        one.kill(one.launch.process.pid)

        assert list(filter(None, lines))[-1] == "data: [DONE]"
    status = assert_nothing_left(one.witness)
    assert (status["state"], status["cause"], status["exit_code"]) == ("failed", KILLED, 0)


def test_a_drain_goes_on_to_its_end_when_the_launcher_is_killed_meanwhile(launch_fake: LaunchFake) -> None:
    one = launch_fake("server.drain_timeout_s=10", stop_s=3)
    one.wait_ready()
    one.kill(one.launch.process.pid, number=signal.SIGTERM)
    one.wait_state("draining")
    one.kill(one.launch.process.pid)

    status = assert_nothing_left(one.witness)

    assert (status["state"], status["cause"], status["exit_code"]) == ("failed", KILLED, 0)


def test_nothing_is_left_of_a_launcher_that_is_killed_while_it_starts_the_guardian(launch_fake: LaunchFake) -> None:
    one = launch_fake(hang_in="imports")
    wait_for(lambda: guardian_of(one))
    one.kill(one.launch.process.pid)

    wait_for(lambda: not one.witness.left())


@pytest.mark.parametrize("also", [[], ["leader"]], ids=["launcher and guardian", "and the front end"])
def test_the_next_start_ends_what_launcher_and_guardian_left(launch_fake: LaunchFake, also: list[str]) -> None:
    one = launch_fake(**ALL_KINDS)
    one.wait_ready()
    one.kill(*map(one.role, ["supervisor", "guardian", *also]))
    wait_for(lambda: one.launch.process.poll() is not None)

    other = launch_fake("workload=probe")

    assert other.launch.exit_code() == 0
    assert f"ending what is left of run {one.folder.name}" in other.launch.stderr
    assert "launcher and guardian were killed" in assert_nothing_left(one.witness)["cause"]
    assert_nothing_left(other.witness)


def guardian_of(one: Launched) -> list[int]:
    """Return the numbers of the launcher's guardians."""
    with suppress(psutil.Error):  # a child may end meanwhile
        children = psutil.Process(one.launch.process.pid).children()
        return [child.pid for child in children if any("guardian.py" in word for word in child.cmdline())]
    return []
