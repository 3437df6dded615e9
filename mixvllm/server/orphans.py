"""Processes that outlived both their launcher and their guardian: found by what was recorded, ended for good.

A process is an orphan of a run only with proof: it was recorded (by number, start and boot), it is in the session of
the run's server and prints to the run's log, or it descends from such a one. Numbers alone are used again.
"""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import record_end
from mixvllm.runs.records import UNREADABLE
from mixvllm.server.fleet import LOST, RunState, alone_with, known_processes, look_at
from mixvllm.server.leftovers import remove_shared_memory, shared_memory_of
from mixvllm.server.processes import ProcessId, ProcessTree, describe, identify, is_alive, send_signal
from mixvllm.server.remains import remove_temporary_folder

_TICK_S = 0.05

Sessions = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Orphan:
    """A run whose processes live though nobody watches them.

    Args:
        run: its folder.
        processes: those that live, oldest first.
    """

    run: RunFolder
    processes: tuple[ProcessId, ...]


def find_orphans(folders: Iterable[RunFolder]) -> list[Orphan]:
    """Return what runs of this user, machine and boot have left, where both supervisor and guardian are gone."""
    sessions = _sessions()
    found = ((folder, _living(folder, sessions)) for folder in folders if _is_abandoned(folder))
    return [Orphan(folder, tuple(processes)) for folder, processes in found if processes]


def end_orphans(orphan: Orphan, timeout_s: float = 5.0) -> list[ProcessId]:
    """Kill the orphans of a run, remove their shared memory and temporary files, and record the run's end.

    Nobody waits for their answers any more, so that there is nothing to drain. May be called again, by several at once,
    and for a run that is lost without processes. A run that somebody looks after is left alone.

    Returns:
        The processes that would not go, shape (n,).
    """
    with alone_with(orphan.run):
        state = look_at(orphan.run)
        if not state.has_ended or state.state == UNREADABLE or state.is_remote or _is_watched(state):
            return list(orphan.processes)
        segments = shared_memory_of(process.pid for process in orphan.processes)
        left = _kill(orphan.run, timeout_s)
        remove_shared_memory(segments)
        if not left and (tmp_dir := state.text("tmp_dir")) is not None:
            remove_temporary_folder(tmp_dir)
        with suppress(OSError):  # where the disk takes no record, the next start is not to fail of it
            if state.state == LOST:
                record_end(orphan.run, _cause(state, orphan.processes, left))
            orphan.run.endpoint.unlink(missing_ok=True)
    return left


def _cause(state: RunState, found: Sequence[ProcessId], left: Sequence[ProcessId]) -> str:
    num_ended = len(found) - len(left)
    ended = f"; {num_ended} {'process' if num_ended == 1 else 'processes'} of it ended later" if num_ended > 0 else ""
    return f"{state.cause}{ended}" + (f"; left: {describe(left)}" if left else "")


def _kill(folder: RunFolder, timeout_s: float) -> list[ProcessId]:
    deadline = time.monotonic() + timeout_s
    while (left := _living(folder, _sessions())) and time.monotonic() < deadline:
        for process in left:
            send_signal(process, signal.SIGKILL)
        time.sleep(_TICK_S)
    return left


def _is_abandoned(folder: RunFolder) -> bool:
    """Whether the run was of this machine and boot, and both that would end its processes are gone."""
    state = look_at(folder)
    return state.has_ended and state.supervisor is not None and not _is_watched(state)


def _is_watched(state: RunState) -> bool:
    return any(map(is_alive, filter(None, (state.supervisor, state.guardian))))


def _living(folder: RunFolder, sessions: Sessions) -> list[ProcessId]:
    """Return the processes of the run that live, with proof that they are its own and this user's; oldest first."""
    known = known_processes(folder)
    proven = {process for process in known if is_alive(process)}
    if known:
        proven |= _loggers(known[0], sessions, folder.server_log)
    if not proven:
        return []
    oldest = min(proven, key=_age)
    return sorted(filter(_is_of_this_user, ProcessTree(oldest, proven).refresh()), key=_age)


def _age(process: ProcessId) -> int:
    return process.start_ticks


def _loggers(leader: ProcessId, sessions: Sessions, log: Path) -> set[ProcessId]:
    """Return the members of the leader's session that print to `log`: the session's number may be another's by now."""
    members = filter(None, map(identify, sessions.get(leader.pid, ())))
    return {member for member in members if _age(member) >= _age(leader) and _prints_to(member.pid, log)}


def _prints_to(pid: int, log: Path) -> bool:
    try:
        wanted = log.stat()
        return any(os.path.samestat(Path(f"/proc/{pid}/fd/{number}").stat(), wanted) for number in (1, 2))
    except OSError:
        return False


def _is_of_this_user(process: ProcessId) -> bool:
    """Whether the process runs for this user; `/proc` itself belongs to root where a process may not be looked into."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split()[1:2] == [str(os.getuid())] for line in lines if line.startswith("Uid:"))


def _sessions() -> Sessions:
    """Return the numbers of the processes of each session."""
    members = defaultdict(list)
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                members[os.getsid(int(entry.name))].append(int(entry.name))
            except OSError:
                continue
    return members
