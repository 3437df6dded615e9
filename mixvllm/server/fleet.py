"""The truth about runs: what their records say, held against the processes that are there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

from mixvllm.errors import UntrustedFile
from mixvllm.machine.folders import runs_folder
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED
from mixvllm.runs.records import UNREADABLE, moment_of
from mixvllm.runs.registry import find_runs, host_name, resolve_run
from mixvllm.runs.trust import read_record
from mixvllm.server.processes import ProcessId, boot_id, is_alive

LOST = "lost"
"""The state of a run that has ended without anybody to record it."""

DONE = "done"
"""The state of what was submitted when all of it has ended well."""

UNKNOWN = "unknown"
"""The state of what only Slurm could tell of, which does not answer."""

KILLED = "launcher and guardian were killed"
RESTARTED = "the machine was started anew while it ran"
NEVER_STARTED = "nothing was recorded: the launcher ended before it started a server"
GUARDED = "the launcher was killed; its guardian stops the server"

_FIRST_RECORD_S = 600.0  # between a run's folder and its first record lies e.g. the making of the demo model
_LOCK_S = 10.0
_TICK_S = 0.05


@dataclass(frozen=True)
class RunState:
    """What a run is like now.

    Args:
        folder: of the run.
        state: `starting`, `ready`, `draining`, `hung`, `stopped`, `failed`, `lost`, or `unreadable`; of what Slurm runs
            also `pending`, `running`, `done` or `unknown`.
        cause: one line; of a failure, of being lost or unreadable, or why it drains.
        is_remote: whether it is on another machine, so that only its record is known.
        supervisor: the launcher that watches it; this and the next two are None where they are not of this machine, or
            from before it was started anew.
        guardian: the process that ends the server where the launcher cannot.
        leader: the server's first process.
        num_orphans: known processes that live though supervisor and guardian are gone; counted where it is lost.
        last_sign: when the run last wrote anything.
        record: the whole of status.json; empty where there is none, or it is not to be trusted.
    """

    folder: RunFolder
    state: str
    cause: str | None
    is_remote: bool
    supervisor: ProcessId | None
    guardian: ProcessId | None
    leader: ProcessId | None
    num_orphans: int
    last_sign: datetime
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.name

    @property
    def has_ended(self) -> bool:
        """Whether it will not serve any more, as far as anybody knows."""
        return self.state in (*ENDED, DONE, LOST, UNREADABLE)

    @property
    def host(self) -> str:
        """The machine that it runs on."""
        return self.text("host") or host_name()

    @property
    def phase(self) -> str | None:
        """What a start, or a job, is at; None in any other state."""
        return self.text("phase") if self.state in ("starting", "pending", "running") else None

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, as far as that is known; None where it has not."""
        if not self.has_ended:
            return None
        return (self.moment("since") if self.state in ENDED else None) or self.last_sign

    def text(self, name: str) -> str | None:
        """Return what the record has under `name`, if that is text."""
        value = self.record.get(name)
        return value if isinstance(value, str) and value else None

    def moment(self, name: str) -> datetime | None:
        """Return the time that the record has under `name`, if that is one."""
        return moment_of(self.record.get(name))


def look_at_all() -> list[RunState]:
    """Return the state of every registered run, newest first."""
    return [look_at(folder) for folder in find_runs(runs_folder())]


def find_run(text: str) -> RunState:
    """Return the state of the run that `text` means.

    Raises:
        RunNotFound: it means none, or several.
    """
    return look_at(resolve_run(runs_folder(), text, lambda folder: not look_at(folder).has_ended))


def look_at(folder: RunFolder) -> RunState:
    """Return the state of the run in `folder`. Reads files alone: it asks no server."""
    try:
        record, state, cause = _look(folder)
    except UntrustedFile as error:
        record, state, cause = {}, UNREADABLE, str(error).partition("\n")[0]
    supervisor, guardian, leader = (_process(record, role) for role in ("supervisor", "guardian", "leader"))
    return RunState(
        folder=folder,
        state=state,
        cause=cause,
        is_remote=_is_remote(record),
        supervisor=supervisor,
        guardian=guardian,
        leader=leader,
        num_orphans=sum(map(is_alive, known_processes(folder))) if state == LOST else 0,
        last_sign=_last_sign(folder),
        record=record,
    )


def known_processes(folder: RunFolder) -> list[ProcessId]:
    """Return every process of the server that was seen while it was watched.

    There are none where the record is of another machine, of before this one was started anew, or not to be trusted.
    """
    try:
        record = _read(folder.processes) or {}
    except UntrustedFile:
        return []
    if record.get("boot_id") != boot_id():
        return []
    known = [_identity(*pair) for pair in _list(record.get("known")) if len(_list(pair)) == 2]
    leader = _identity(record.get("session"), record.get("start_ticks"))
    return list(dict.fromkeys(process for process in (leader, *known) if process is not None))


@contextmanager
def alone_with(folder: RunFolder) -> Iterator[None]:
    """Keep other commands from stopping or clearing the same run meanwhile; a lock that is never released is passed."""
    try:
        descriptor = os.open(folder.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_S
    while time.monotonic() < deadline:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            time.sleep(_TICK_S)
        except OSError:  # a file system that locks no folders
            return
        else:
            return


def _look(folder: RunFolder) -> tuple[Mapping[str, Any], str, str | None]:
    """Return the record, the state, and its cause."""
    record = _read(folder.status)
    state, cause = _truth(record, folder)
    if state == LOST:
        # It may have ended in good order between the look at its record and the look at its processes.
        record = _read(folder.status)
        if record is not None and record.get("state") in ENDED:
            state, cause = _recorded(record)
    return record or {}, state, cause


def _read(path: Path) -> dict[str, Any] | None:
    """Return the record at `path`, by which processes may be ended; None where there is none.

    Raises:
        UntrustedFile: somebody else could have written it.
    """
    try:
        return read_record(path)
    except FileNotFoundError:
        return None


def _truth(record: Mapping[str, Any] | None, folder: RunFolder) -> tuple[str, str | None]:
    if record is None:
        is_young = time.time() - _last_sign(folder).timestamp() < _FIRST_RECORD_S
        return ("starting", None) if is_young else (LOST, NEVER_STARTED)
    if record.get("state") in ENDED or _is_remote(record):
        return _recorded(record)
    if not _is_here(record):
        return LOST, RESTARTED
    supervisor, guardian = _process(record, "supervisor"), _process(record, "guardian")
    if supervisor is None or is_alive(supervisor):
        return _recorded(record)
    if guardian is not None and is_alive(guardian):
        return "draining", GUARDED
    return LOST, KILLED


def _process(record: Mapping[str, Any], role: str) -> ProcessId | None:
    """Return the process that status.json names for `role`; None where its number means nothing here."""
    process = record.get(role)
    if not isinstance(process, dict) or not _is_here(record):
        return None
    return _identity(process.get("pid"), process.get("start_ticks"))


def _is_here(record: Mapping[str, Any]) -> bool:
    return not _is_remote(record) and record.get("boot_id") == boot_id()


def _recorded(record: Mapping[str, Any]) -> tuple[str, str | None]:
    cause = record.get("cause")
    return str(record.get("state", "starting")), str(cause).partition("\n")[0] if cause else None


def _is_remote(record: Mapping[str, Any]) -> bool:
    return bool(record.get("host", host_name()) != host_name())


def _identity(pid: object, start_ticks: object) -> ProcessId | None:
    if isinstance(pid, int) and isinstance(start_ticks, int) and pid > 0:
        return ProcessId(pid, start_ticks)
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _last_sign(folder: RunFolder) -> datetime:
    files = (folder.status, folder.server_log, folder.samples, folder.path)
    return datetime.fromtimestamp(max(_modified(files), default=0.0), UTC)


def _modified(files: Iterable[Path]) -> Iterator[float]:
    for file in files:
        with suppress(OSError):
            yield file.stat().st_mtime
