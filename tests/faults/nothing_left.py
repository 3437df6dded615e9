"""What must hold at the end of every run, however it ended."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixvllm.machine.folders import private_tmp
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED
from mixvllm.server.leftovers import shared_memory_of
from mixvllm.server.processes import ProcessId, describe, identify, is_alive

_TICK_S = 0.02


@dataclass
class Witness:
    """Notes what a run uses while it lives, by sources that do not need the launcher to be right.

    Args:
        folder: of the run.
        pids_file: where the fake writes every process of its own; None for the real vLLM.
    """

    folder: RunFolder
    pids_file: Path | None = None
    processes: set[ProcessId] = field(default_factory=set)
    segments: set[str] = field(default_factory=set)

    def note(self) -> None:
        """Note the processes and the shared memory of this moment."""
        found = {*filter(is_alive, self._named()), *_printing_to(self.folder.server_log)}
        living = {process for process in found if process.pid != os.getpid()}
        self.processes |= living
        self.segments |= shared_memory_of(process.pid for process in living)

    def left(self) -> list[str]:
        """Return in words what is there still."""
        self.note()
        processes = [process for process in self.processes if is_alive(process)]
        return [
            *([f"processes {describe(processes)}"] if processes else []),
            *(f"a listener on port {port}" for port in sorted(self._ports()) if _is_open(port)),
            *(f"folder {path}" for path in self._tmp_dirs() if os.path.lexists(path)),
            *(f"/dev/shm/{name}" for name in sorted(self.segments) if Path("/dev/shm", name).exists()),
            *([str(self.folder.endpoint)] if self.folder.endpoint.exists() else []),
        ]

    def events(self) -> list[dict[str, Any]]:
        """Return what `events.jsonl` tells."""
        with suppress(FileNotFoundError):
            return [json.loads(line) for line in self.folder.events.read_text().splitlines()]
        return []

    def _spawned(self) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["event"] == "spawned"]

    def _named(self) -> Iterator[ProcessId]:
        """Give the processes that the fake, and the records, name."""
        for event in self._spawned():
            for role in ("supervisor", "guardian", "leader"):
                yield ProcessId(event[role]["pid"], event[role]["start_ticks"])
        with suppress(FileNotFoundError):
            yield from (ProcessId(*pair) for pair in json.loads(self.folder.processes.read_text())["known"])
        for pid in self._pids():
            if (process := identify(pid)) is not None:
                yield process

    def _pids(self) -> list[int]:
        with suppress(OSError):
            return [int(line.rpartition(" ")[2]) for line in (self.pids_file or Path()).read_text().splitlines()]
        return []

    def _ports(self) -> set[int]:
        return {event["port"] for event in self._spawned()}

    def _tmp_dirs(self) -> set[str]:
        in_place = {str(path) for path in private_tmp().glob(f"{self.folder.name}-*")}
        return in_place | {event["tmp_dir"] for event in self._spawned()}


def left_at_last(left: Callable[[], list[str]], timeout_s: float = 30.0) -> list[str]:
    """Return what is left when nothing is, or the time is up.

    A guardian may still be at work, and the server of another test may have a port that was free again.
    """
    deadline = time.monotonic() + timeout_s
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(_TICK_S)
    return found


def assert_nothing_left(witness: Witness, *, timeout_s: float = 30.0) -> dict[str, Any]:
    """Check that nothing of the run is left and that its end is recorded with its cause; return its status.json.

    The launcher's process counts, unless it is the one that asks. Waits, since a guardian may still be at work.
    """
    deadline = time.monotonic() + timeout_s
    while (left := witness.left()) or not _has_ended(witness.folder):
        if time.monotonic() > deadline:
            break
        time.sleep(_TICK_S)
    assert left == [], left
    status: dict[str, Any] = json.loads(witness.folder.status.read_text())
    assert status["state"] in ENDED, status["state"]
    last = witness.events()[-1]
    assert (last["event"], last.get("cause")) == (status["state"], status.get("cause")), last
    assert status["state"] == "stopped" or status["cause"], "it failed without a cause"
    return status


def _has_ended(folder: RunFolder) -> bool:
    with suppress(FileNotFoundError):
        return json.loads(folder.status.read_text())["state"] in ENDED
    return False


def _printing_to(log: Path) -> Iterator[ProcessId]:
    """Give the processes whose output goes to `log`: guardian and server, wherever they have moved to."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if log in [(entry / "fd" / number).readlink() for number in ("1", "2")]:
                process = identify(int(entry.name))
                if process is not None:
                    yield process


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def pids_by_title(pids_file: Path) -> dict[str, int]:
    """Return every process that a fake started, by title; of several of one title the last."""
    lines: Iterable[str] = pids_file.read_text().splitlines() if pids_file.exists() else []
    return {title: int(pid) for title, _, pid in (line.rpartition(" ") for line in lines)}
