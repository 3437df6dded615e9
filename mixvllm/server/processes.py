"""A server's processes: found by session and parentage, told apart from later ones of the same number, ended for good.

vLLM overwrites the titles and the environment of its children, so neither a name nor a marker finds them.
The guardian uses this module too, so that it imports little.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_POLL_S = 0.05
_TRACKER_S = 1.0  # for a resource tracker; it takes milliseconds


class ProcessId(NamedTuple):
    """A process that cannot be mistaken for a later one with the same number, until the machine is started anew.

    Args:
        pid: its number.
        start_ticks: when it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    """

    pid: int
    start_ticks: int


class _Row(NamedTuple):
    id: ProcessId
    parent: int
    session: int
    is_zombie: bool


class ProcessTree:
    """The processes of one server: its leader's session, all descendants, and what is known of before.

    `refresh` while the server lives: a process that left the session is known by its parents only while they live,
    unless their guardian adopts it.

    Args:
        leader: the first process, which leads the session.
        known: processes of it that were seen before.
        guardian: its parent, whose other descendants are the server's as well; it is not one itself.
    """

    def __init__(self, leader: ProcessId, known: Iterable[ProcessId] = (), guardian: ProcessId | None = None) -> None:
        self._leader = leader
        self._guardian = guardian
        self.known: set[ProcessId] = {leader, *known}

    def refresh(self) -> list[ProcessId]:
        """Return the processes that live now, and remember them."""
        rows = [row for row in _all_rows() if row.id.start_ticks >= self._leader.start_ticks]
        # A session's number is used again once it has no member; then its members are another program's.
        is_reused = any(row.id.pid == self._leader.pid and row.id != self._leader for row in rows)
        session = None if is_reused else self._leader.pid
        ours = {row.id.pid for row in rows if row.session == session or row.id in self.known}
        roots = {self._guardian.pid} if self._guardian and is_alive(self._guardian) else set()
        while found := {row.id.pid for row in rows if row.parent in ours | roots} - ours:
            ours |= found
        living = [row.id for row in rows if row.id.pid in ours and not row.is_zombie]
        self.known.update(living)
        return living

    def wait_gone(self, timeout_s: float) -> list[ProcessId]:
        """Wait until no process is left, for `timeout_s` at the most; return those that are."""
        deadline = time.monotonic() + timeout_s
        while (left := self.refresh()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return left

    def kill(self, timeout_s: float = 5.0) -> list[ProcessId]:
        """Kill every process until none is left, for `timeout_s` at the most; return those that would not go."""
        deadline, killer = time.monotonic() + timeout_s, Killer()
        while (left := self.refresh()) and time.monotonic() < deadline:
            killer.kill(left)
            time.sleep(_POLL_S)
        return left


class Killer:
    """Kills the processes of one server, look after look.

    Python's resource trackers come last: each removes the shared memory of its server, and ends, when the others are
    gone. Killed with them it would leave gigabytes in `/dev/shm`.
    """

    def __init__(self) -> None:
        self._spares_until = time.monotonic() + _TRACKER_S

    def kill(self, processes: Iterable[ProcessId]) -> None:
        """Kill those of `processes` whose turn it is."""
        spares = time.monotonic() < self._spares_until
        for process in processes:
            if not (spares and is_resource_tracker(process)):
                send_signal(process, signal.SIGKILL)


def send_signal(process: ProcessId, signal_number: int) -> bool:
    """Send a signal to exactly `process`; return False where it is gone, also where its number has a new owner."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if identify(process.pid) != process:
            return False
        signal.pidfd_send_signal(descriptor, signal_number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def identify(pid: int) -> ProcessId | None:
    """Return the identity of the process that has the number `pid` now."""
    row = _read(pid)
    return row.id if row else None


def is_alive(process: ProcessId) -> bool:
    """Whether exactly `process` runs; one that has ended and was not waited for does not."""
    row = _read(process.pid)
    return row is not None and row.id == process and not row.is_zombie


def is_resource_tracker(process: ProcessId) -> bool:
    """Whether it is a helper that Python's multiprocessing keeps as long as the leader lives, or is gone."""
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            return b"multiprocessing.resource_tracker" in file.read()
    except OSError:
        return True


def boot_id() -> str:
    """Return what is another one after each start of the machine; empty where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def describe(processes: Iterable[ProcessId]) -> str:
    """Return the processes with their names, for a message."""
    return ", ".join(f"{process.pid} ({_name(process.pid)})" for process in processes)


def _all_rows() -> Iterator[_Row]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            row = _read(int(name))
            if row is not None:
                yield row


def _read(pid: int) -> _Row | None:
    """Return what `/proc/PID/stat` says. Source: proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks and parentheses
    state, parent, session, start_ticks = fields[0], fields[1], fields[3], fields[19]
    return _Row(ProcessId(pid, int(start_ticks)), int(parent), int(session), state in "ZX")


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "gone"
