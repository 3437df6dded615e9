"""Run folders as launchers leave them, written by hand, and small processes that stand for launchers and servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mixvllm.machine.folders import runs_folder
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.registry import host_name, register
from mixvllm.server.processes import ProcessId, boot_id, identify, send_signal

DEAD = ProcessId(2**22 + 1, 1)
"""A process that never is: its number is above the highest (PID_MAX_LIMIT)."""

SLEEP = "import time; time.sleep(60)"


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    """Return when `condition` is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def write_run(name: str, **status: Any) -> RunFolder:
    """Make and register the folder of a run with a status.json that says what `status` does; without one if empty."""
    folder = RunFolder(Path.cwd() / "outputs" / "2026-01-02" / name)
    folder.path.mkdir(parents=True)
    folder.path.chmod(0o700)
    if status:
        write_status(folder, **status)
    register(runs_folder(), folder)
    return folder


def write_status(folder: RunFolder, **status: Any) -> None:
    """Write status.json, with what every run has."""
    now = datetime.now(UTC).isoformat()
    usual = {
        "schema": 1,
        "run": folder.name,
        "model": "some/model",
        "host": host_name(),
        "boot_id": boot_id(),
        "attempt": 1,
        "began_at": now,
        "attempt_began_at": now,
        "since": now,
    }
    write_json(folder.status, usual | status)


def ago(**span: float) -> str:
    """Return the time that was `span` ago, as records have it."""
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def role(process: ProcessId) -> dict[str, int]:
    """Return `process` as status.json has one."""
    return dict(process._asdict())


def write_processes(folder: RunFolder, leader: ProcessId, known: Iterable[ProcessId] = (), boot: str = "") -> None:
    """Write processes.json."""
    record = {"schema": 1, "boot_id": boot or boot_id(), "session": leader.pid, "start_ticks": leader.start_ticks}
    write_json(folder.processes, record | {"known": [leader, *known]})


class Processes:
    """Starts small Python programs; `end` kills all of them, and all that they have told of."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []
        self._noted: set[ProcessId] = set()

    def start(self, program: str, *arguments: str, log: Path | None = None, **options: Any) -> ProcessId:
        """Start `program` in a session of its own, printing to `log`."""
        descriptor = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                **options,
            )
        finally:
            os.close(descriptor)
        self._started.append(process)
        return self.note(process.pid)

    def note(self, pid: int) -> ProcessId:
        """Return the identity of `pid`, and end it at last."""
        process = identify(pid)
        assert process is not None
        self._noted.add(process)
        return process

    def kill(self, process: ProcessId) -> None:
        """Kill a process and wait until it is gone."""
        send_signal(process, signal.SIGKILL)
        self.wait(process)

    def wait(self, process: ProcessId) -> None:
        """Wait until a process that was started here has ended."""
        next(started for started in self._started if started.pid == process.pid).wait(60)

    def end(self) -> None:
        """Kill everything."""
        for process in self._noted:
            send_signal(process, signal.SIGKILL)
        for started in self._started:
            started.wait()


def pids_in(file: Path, count: int) -> Sequence[int]:
    """Return the process numbers that were written to `file`, once there are `count`."""

    def numbers() -> list[int]:
        with suppress(OSError):
            return [int(line) for line in file.read_text().splitlines() if line]
        return []

    wait_for(lambda: len(numbers()) >= count)
    return numbers()


SUPERVISOR = """
import json, os, signal, sys, time
folder, drain_s, asked = sys.argv[1], float(sys.argv[2]), []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
def write(name, text):
    with open(f"{folder}/.{name}", "w") as file:
        file.write(text)
    os.rename(f"{folder}/.{name}", f"{folder}/{name}")
def record(**change):
    with open(f"{folder}/status.json") as file:
        write("status.json", json.dumps(json.load(file) | change))
write("up", "1\\n")
while not asked:
    time.sleep(0.01)
record(state="draining")
deadline = time.monotonic() + drain_s
while time.monotonic() < deadline and len(asked) == 1:
    time.sleep(0.01)
write("asked", f"{len(asked)}\\n")
record(state="stopped")
"""
"""A launcher in short: drains when it is asked to stop, ends at once when it is asked again."""


def supervised_run(processes: Processes, name: str, drain_s: float = 0.1, **status: Any) -> RunFolder:
    """Return a run that serves, with a launcher that takes `drain_s` to stop it."""
    run = write_run(name)
    supervisor = processes.start(SUPERVISOR, str(run.path), str(drain_s))
    pids_in(run.path / "up", 1)
    write_status(run, **{"state": "ready", "supervisor": role(supervisor), "guardian": role(DEAD), **status})
    return run


def num_asked(run: RunFolder) -> int:
    """Return how often the launcher of a run was asked to stop."""
    return int((run.path / "asked").read_text())
