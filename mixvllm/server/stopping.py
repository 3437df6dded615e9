"""Stopping runs of other launchers: their supervisors are asked, and what nobody supervises is ended."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence

from mixvllm.errors import MixvllmError
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import UNREADABLE
from mixvllm.server.fleet import LOST, RunState, alone_with, known_processes, look_at
from mixvllm.server.orphans import Orphan, end_orphans, find_orphans
from mixvllm.server.processes import ProcessId, is_alive, send_signal

_TICK_S = 0.1
_ANSWER_S = 10.0
"""For a launcher to record that it stops; until then another command must not ask it too, since twice means at once."""
_MIN_ANSWER_S = 1.0
_AGAIN_S = 0.5
"""Between two requests to stop at once: signals of one kind that come together are one."""


class NotStoppable(MixvllmError):
    """The run cannot be stopped from here."""


def stop_runs(
    folders: Sequence[RunFolder], *, timeout_s: float | None = None, is_forced: bool = False
) -> list[RunState]:
    """Stop runs and return when nothing of them is left, with their states in the end, shape (num_folders,).

    May be called again, and by several at once. Nothing is done where one of them cannot be stopped.

    Args:
        folders: of the runs.
        timeout_s: seconds to wait, all in all; None = as long as the slowest launcher takes.
        is_forced: whether requests in flight are given up.

    Raises:
        NotStoppable: one runs on another machine, or its record names no launcher.
    """
    for folder in folders:
        _check(look_at(folder))
    deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
    for folder in folders:
        _ask(folder, is_forced=is_forced, answer_s=max(_MIN_ANSWER_S, min(_ANSWER_S, deadline - time.monotonic())))
    asked = time.monotonic()
    while not all(map(is_over, folders)) and time.monotonic() < deadline:
        time.sleep(_TICK_S)
        if is_forced and time.monotonic() - asked > _AGAIN_S:
            asked = time.monotonic()
            for folder in folders:
                _tell(look_at(folder), is_forced=True)
    return [look_at(folder) for folder in folders]


def is_over(folder: RunFolder) -> bool:
    """Whether the run has ended and none of its server's processes lives; its launcher may still have other work."""
    state = look_at(folder)
    if state.state == LOST or (state.has_ended and living(state)):
        _end(folder)  # unless its launcher or its guardian lives and does
        state = look_at(folder)
    return state.has_ended and not living(state)


def living(state: RunState) -> list[ProcessId]:
    """Return the guardian and the known processes of the run's server that live on this machine, shape (n,)."""
    named = [process for process in (state.guardian, state.leader) if process is not None]
    return list(filter(is_alive, dict.fromkeys([*named, *known_processes(state.folder)])))


def _check(state: RunState) -> None:
    if state.state == UNREADABLE:
        raise NotStoppable(f"{state.name}: {state.cause}\n  next: make sure that it is your own, and stop its launcher")
    if state.has_ended:
        return
    if state.is_remote:
        where = f"it runs on {state.host}, not here"
        raise NotStoppable(f"{state.name}: {where}\n  next: ssh {state.host} mixvllm stop {state.name}")
    if state.supervisor is None:
        what = f"its record does not name its launcher (yet): {state.folder.status}"
        raise NotStoppable(f"{state.name}: {what}\n  next: try again, or stop the launcher itself")


def _ask(folder: RunFolder, *, is_forced: bool, answer_s: float) -> None:
    if is_forced:
        _tell(look_at(folder), is_forced=True)
        return
    with alone_with(folder):
        _tell(look_at(folder), is_forced=False)
        deadline = time.monotonic() + answer_s
        while not _stops(look_at(folder)) and time.monotonic() < deadline:
            time.sleep(_TICK_S)


def _tell(state: RunState, *, is_forced: bool) -> None:
    """Tell whoever looks after the run; one that stops already is told only to do it at once."""
    if _stops(state) and not is_forced:
        return
    if state.supervisor is not None and is_alive(state.supervisor):
        if not state.has_ended:
            send_signal(state.supervisor, signal.SIGTERM)
    elif state.guardian is not None and is_alive(state.guardian):
        # It stops the server since its launcher is gone; a signal tells it to be quick.
        send_signal(state.guardian, signal.SIGTERM)


def _stops(state: RunState) -> bool:
    return state.has_ended or state.state == "draining"


def _end(folder: RunFolder) -> None:
    for orphan in find_orphans([folder]) or [Orphan(folder, ())]:
        end_orphans(orphan)
