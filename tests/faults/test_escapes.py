"""Every process that a server starts is found and ended, wherever it has moved to."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.limits import StopLimits
from mixvllm.server.processes import ProcessId, identify, is_alive
from tests.faults.served import QUICK
from tests.written_runs import pids_in, wait_for

PRELUDE = """
import os, signal, subprocess, sys, time

def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")

def await_notes(count):
    while not os.path.exists(sys.argv[1]) or len(open(sys.argv[1]).readlines()) < count:
        time.sleep(0.01)

def fork(run):
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(0)
    return pid

def live(*before):
    for call in before:
        call()
    note()
    while True:
        time.sleep(0.05)

def ignore():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
"""

LAYOUTS: dict[str, tuple[int, str]] = {
    "api servers and coordinator": (
        5,
        "[fork(live) for _ in range(4)]; live()",
    ),
    "supervisor of servers in groups of their own": (
        5,
        "[fork(lambda: (os.setpgrp(), fork(live), live())) for _ in range(2)]; live()",
    ),
    "a session of its own": (2, "fork(lambda: live(os.setsid)); live()"),
    "a session in a session": (2, "fork(lambda: (os.setsid(), fork(lambda: live(os.setsid)))); live()"),
    "a daemon": (2, "fork(lambda: (os.setsid(), fork(lambda: fork(live)))); live()"),
    "deaf to signals": (3, "fork(lambda: live(ignore)); fork(lambda: live(os.setsid, ignore)); live()"),
    "a zombie": (2, "fork(note); live()"),
}
"""How many processes a layout has, and the program that makes it; each process notes its number."""

ENDLESS = "ignore(); fork(lambda: [fork(lambda: live(os.setsid, ignore)) and time.sleep(0.02) for _ in range(3000)]); "
"""A child makes more and more processes, also while they are ended."""

Guard = Callable[..., tuple[GuardedProcess, list[ProcessId]]]


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guard]:
    """Return a function that starts a program under a guardian and gives its processes once there are `count`."""
    guarded: list[GuardedProcess] = []

    def start(count: int, program: str, limits: StopLimits = QUICK) -> tuple[GuardedProcess, list[ProcessId]]:
        numbers = tmp_path / f"numbers-{len(guarded)}"
        process = GuardedProcess.start(
            [sys.executable, "-c", PRELUDE + program, str(numbers)],
            os.environ,
            log=tmp_path / "server.log",
            tmp_dir=tmp_path / f"tmp-{len(guarded)}",
            limits=limits,
            drain_s=0.2,
        )
        guarded.append(process)
        return process, [found for pid in pids_in(numbers, count) if (found := identify(pid)) is not None]

    yield start
    for process in guarded:
        process.kill()


def living(processes: list[ProcessId]) -> list[ProcessId]:
    return list(filter(is_alive, processes))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_stop_ends_all(guard: Guard, layout: str) -> None:
    process, processes = guard(*LAYOUTS[layout])
    process.tell_ready()

    assert (process.stop(lambda: False), living(processes)) == ([], [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_front_end_that_is_killed_takes_all_along(guard: Guard, layout: str) -> None:
    process, processes = guard(*LAYOUTS[layout])
    os.kill(process.leader.pid, signal.SIGKILL)

    wait_for(lambda: process.poll() is not None)
    wait_for(lambda: not living(processes))

    assert (process.poll(), process.stop(lambda: False)) == (-signal.SIGKILL, [])


@pytest.mark.parametrize("layout", ["api servers and coordinator", "supervisor of servers in groups of their own"])
def test_a_supervisor_that_returns_with_0_takes_its_servers_along(guard: Guard, layout: str) -> None:
    count, program = LAYOUTS[layout]
    process, processes = guard(count - 1, f"{program.removesuffix('live()')}await_notes({count - 1})")

    wait_for(lambda: process.poll() is not None)
    wait_for(lambda: not living(processes))

    assert (process.poll(), process.stop(lambda: False)) == (0, [])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_launcher_alone_finds_all_that_it_saw(guard: Guard, layout: str) -> None:
    process, processes = guard(*LAYOUTS[layout])
    process.tree.refresh()
    os.kill(process.guardian.pid, signal.SIGKILL)

    assert (process.stop(lambda: False), living(processes)) == ([], [])


def test_processes_that_are_made_while_they_are_ended_are_ended_too(guard: Guard, tmp_path: Path) -> None:
    process, _ = guard(5, f"{ENDLESS} live()", StopLimits(after_drain_s=0.2, leftovers_s=0.2, kill_s=10))
    process.tell_ready()

    assert process.stop(lambda: False) == []
    assert [pid for pid in pids_in(tmp_path / "numbers-0", 5) if identify(pid)] == []


def test_a_guardian_leaves_no_zombies_while_it_works(guard: Guard) -> None:
    orphans = "fork(lambda: [fork(note) for _ in range(20)]); live()"
    process, _ = guard(21, orphans)

    wait_for(lambda: [child.pid for child in psutil.Process(process.guardian.pid).children()] == [process.leader.pid])


def test_a_forced_stop_waits_for_nothing(guard: Guard) -> None:
    process, processes = guard(1, "ignore(); live()", StopLimits(after_drain_s=600, start_up_s=600))
    process.tell_ready()
    began = time.monotonic()

    assert (process.stop(lambda: True), living(processes)) == ([], [])
    assert time.monotonic() - began < 60  # of the 600 s that it would get


def test_the_guardian_starts_a_program_with_ordinary_signals_and_nothing_but_its_log_open(guard: Guard) -> None:
    process, _ = guard(1, "live()")
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.leader.pid}/status").read_text().splitlines())

    def opened() -> set[int]:
        return {int(entry.name) for entry in Path(f"/proc/{process.leader.pid}/fd").iterdir()}

    wait_for(lambda: opened() == {0, 1, 2})  # once it has closed what it noted its number in
    assert int(status["SigBlk"], 16) == 0


def test_a_program_that_is_not_there_is_a_server_that_died(tmp_path: Path) -> None:
    missing: dict[str, Any] = {"log": tmp_path / "server.log", "tmp_dir": tmp_path / "tmp", "limits": QUICK}
    process = GuardedProcess.start(["/no/such/program"], {}, drain_s=0, **missing)

    wait_for(lambda: process.poll() is not None)

    assert (process.poll(), process.stop(lambda: False)) == (127, [])
    assert "cannot start /no/such/program" in (tmp_path / "server.log").read_text()
