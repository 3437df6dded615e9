"""Without its guardian a server is ended by the launcher, and another one with a guardian takes its place."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import ServerDied
from mixvllm.server.guarded import GuardedProcess
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import QUICK, Serve
from tests.written_runs import wait_for

ONCE: dict[str, Any] = {"restart": "never"}

SEGMENT = f"psm_unguarded_{os.getpid()}"


@pytest.mark.parametrize("phase", ["imports", "engine_init", "weights", "warmup"])
def test_a_server_that_loads_ends_with_its_guardian(serve: Serve, phase: str) -> None:
    one = serve(ONCE, hang_in=phase, num_workers=2, stubborn=True, shared_memory=SEGMENT)
    if phase != "imports":
        one.pid("VLLM::EngineCore")
    one.kill(one.guardian)

    with pytest.raises(ServerDied, match=r"the guardian of process \d+ was killed"):
        one.service.wait_ready()
    one.service.stop()

    assert assert_nothing_left(one.witness)["failure"]["id"] == "guardian-killed"


@pytest.mark.parametrize("script", [{}, {"stubborn": True}, {"escape": "setsid"}, {"hang_on_term": True}], ids=str)
def test_a_server_that_serves_ends_with_its_guardian(serve: Serve, script: dict[str, Any]) -> None:
    one = serve(ONCE, num_workers=2, shared_memory=SEGMENT, **script)
    one.service.wait_ready()
    one.kill(one.guardian)

    cause = one.fail(ServerDied).cause
    one.service.stop()

    status = assert_nothing_left(one.witness)
    assert (status["state"], status["cause"], "guardian" in cause) == ("failed", cause, True)


def test_shared_memory_goes_though_guardian_and_tracker_were_killed(serve: Serve) -> None:
    one = serve(ONCE, hang_on_term=True, shared_memory=SEGMENT)
    one.service.wait_ready()
    one.kill(one.tracker)
    one.kill(one.guardian)

    one.fail(ServerDied)
    one.service.stop()

    assert one.witness.segments == {SEGMENT}
    assert_nothing_left(one.witness)


def test_a_server_whose_guardian_was_killed_is_served_again_under_another_one(serve: Serve) -> None:
    one = serve()
    one.service.wait_ready()
    url, first = one.service.server.url, one.guardian
    one.kill(first)

    one.check_until(lambda: one.names.count("ready") == 2)

    assert (one.service.server.url, one.ask(), one.guardian != first) == (url, 200, True)
    assert [attempt["state"] for attempt in one.end()["attempts"]] == ["failed", "stopped"]


def test_a_start_whose_guardian_is_killed_is_repeated(serve: Serve) -> None:
    one = serve(slow_phases_s={"weights": 0.5})
    one.pid("VLLM::EngineCore")
    one.kill(one.guardian)

    one.service.wait_ready()

    assert (one.names.count("spawned"), one.ask()) == (2, 200)
    one.end()


def test_a_stop_ends_at_once_where_its_guardian_is_killed(serve: Serve) -> None:
    one = serve({"drain_timeout_s": 600}, hang_on_term=True)
    one.service.wait_ready()
    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(one.service.stop)
        wait_for(lambda: "shutdown triggered" in one.folder.server_log.read_text())

        one.kill(one.guardian)

        stopping.result(timeout=20)
    assert assert_nothing_left(one.witness)["was_killed"] is True


def test_a_guardian_that_never_starts_its_server_is_a_failure_and_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    guardian = subprocess.Popen([sys.executable, "-c", ""], **pipes)

    with pytest.raises(ServerDied, match="the guardian ended before it had started the server"):
        GuardedProcess(guardian, QUICK, drain_s=1, tmp_dir=folder)

    assert (folder.exists(), guardian.poll() is None) == (False, False)
