"""Shows what a run's server has printed, or what has happened to it, and what comes."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.fleet.words import end_of, plain, state_words
from mixvllm.cli.terminal import close_stdout, remark
from mixvllm.cluster.fleet import Fleet
from mixvllm.cluster.submitted import LOOK_S, SubmittedState
from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import LOST, RunState

_BLOCK_BYTES = 1 << 16
_MAX_EVENT_BYTES = 1 << 20
_TICK_S = 0.2

_NOT_TEXT = re.compile(rb"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]|\xc2[\x80-\x9f]")
"""What a terminal takes for a command, but colours."""

Form = Callable[[bytes], bytes]


def show_log(run: str, *, follow: bool = False, num_lines: int = 50, events: bool = False) -> int:
    """Print the end of a run's log, or of its events, as it is; off a terminal byte for byte.

    Args:
        run: what `Fleet.find_run` takes; of what was submitted, the run that lives, or began last.
        follow: whether to go on with what comes, over all new starts, until the run has ended; tells then how it did.
        num_lines: last lines to begin with.
        events: what happened to the run, instead of what the server printed.
    """
    fleet = Fleet()
    try:
        state = _begun(fleet, fleet.find_run(run), follow=follow)
    except KeyboardInterrupt:
        return EXIT_OK
    path = _log_of(state, events=events)
    if not path.exists() and not follow:
        return _tell_missing(state, path)
    form: Form = _Events() if events else _for_terminal if sys.stdout.isatty() else bytes
    try:
        offset = _show(path, _start_of_last(path, num_lines), form)
        if follow:
            _follow(fleet, state.folder, path, offset, form)
    except KeyboardInterrupt:
        return EXIT_OK
    except BrokenPipeError:
        close_stdout()
    return EXIT_OK


def _log_of(state: RunState, *, events: bool) -> Path:
    """Return the file that is meant: of what was submitted and has no run, what a job of it printed."""
    if isinstance(state, SubmittedState):
        for wanted in ("running", "failed", LOST, "stopped"):
            logs = [element.log for element in state.elements if element.state == wanted and element.log]
            if logs:
                return Path(logs[0])
    return state.folder.events if events else state.folder.server_log


def _tell_missing(state: RunState, path: Path) -> int:
    if state.has_ended:
        remark(f"error: there is no {path}\n{end_of(state)}")
        return EXIT_FAILED
    remark(f"{state.name} has printed nothing yet: it is {state_words(state)}")
    remark(f"  next: mixvllm logs {state.name} -f waits for it")
    return EXIT_OK


def _begun(fleet: Fleet, state: RunState, *, follow: bool) -> RunState:
    """Return the run whose log is meant, once there is one, where it is waited for."""
    while isinstance(state, SubmittedState):
        runs = fleet.runs_of(state)
        if runs:
            return next((run for run in runs if not run.has_ended), runs[0])
        if state.has_ended or not follow:
            return state
        time.sleep(LOOK_S)
        state = fleet.look_at(state.folder)
    return state


def _follow(fleet: Fleet, folder: RunFolder, path: Path, offset: int, form: Form) -> None:
    while True:
        state = fleet.look_at(folder)  # before the file, so that nothing of a run that has ended is missed
        offset = _show(path, offset, form)
        if state.has_ended:
            remark(end_of(state))
            return
        time.sleep(LOOK_S if isinstance(state, SubmittedState) else _TICK_S)


def _show(path: Path, offset: int, form: Form) -> int:
    """Print the file from `offset` on, in blocks; return where it ends now."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        if file.seek(0, os.SEEK_END) < offset:
            offset = 0  # it was begun anew
        file.seek(offset)
        while block := file.read(_BLOCK_BYTES):
            sys.stdout.buffer.write(form(block))
            offset += len(block)
        sys.stdout.buffer.flush()
    return offset


def _start_of_last(path: Path, num_lines: int) -> int:
    """Return the byte that the last `num_lines` lines of the file begin at."""
    try:
        with path.open("rb") as file:
            return _search_back(file, num_lines)
    except FileNotFoundError:
        return 0


def _search_back(file: BinaryIO, num_lines: int) -> int:
    end = file.seek(0, os.SEEK_END)
    if num_lines <= 0:
        return end
    position = max(end - 1, 0)  # the end of the last line begins no other
    while position > 0:
        size = min(_BLOCK_BYTES, position)
        file.seek(position - size)
        block = file.read(size)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            num_lines -= 1
            if num_lines == 0:
                return position - size + at + 1
        position -= size
    return 0


def _for_terminal(block: bytes) -> bytes:
    return _NOT_TEXT.sub(b"", block)


class _Events:
    """Puts lines of JSON into words; a line that is not whole yet waits for its rest."""

    def __init__(self) -> None:
        self._partial = b""

    def __call__(self, block: bytes) -> bytes:
        *lines, self._partial = (self._partial + block).split(b"\n")
        self._partial = self._partial[-_MAX_EVENT_BYTES:]
        return "".join(f"{_event_words(line)}\n" for line in lines).encode()


def _event_words(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace")
    with suppress(ValueError, RecursionError):
        event = json.loads(text)
        if isinstance(event, dict):
            return plain(_words(event))
    return plain(text)


def _words(event: dict[str, Any]) -> str:
    when = str(event.pop("time", ""))
    with suppress(ValueError):
        when = f"{datetime.fromisoformat(when).astimezone():%Y-%m-%d %H:%M:%S}"
    elapsed_s, name = event.pop("elapsed_s", ""), event.pop("event", "?")
    fields = "  ".join(f"{key}={_short(value)}" for key, value in event.items() if value is not None)
    return f"{when}  {elapsed_s:>9} s  {name:<10}  {fields}".rstrip()


def _short(value: object) -> str:
    if isinstance(value, str):
        return value.partition("\n")[0]
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
