"""How runs are put into words and tables."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from mixvllm.cli.terminal import close_stdout
from mixvllm.cluster.submitted import SubmittedState
from mixvllm.runs.records import UNREADABLE
from mixvllm.server.fleet import DONE, LOST, UNKNOWN, RunState

_STYLES = {
    "ready": "32",
    "starting": "33",
    "pending": "33",
    "running": "32",
    UNKNOWN: "31",
    "draining": "33",
    "hung": "31",
    "failed": "31",
    LOST: "31",
    UNREADABLE: "31",
}
"""Codes of colours (ECMA-48) that can be read on light and on dark."""

_MIN_WIDTH = 12
"""Of the column that is cut where the others leave no room."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        heading: its first line.
        rank: columns of a higher rank are left out first where the terminal is narrow; 0 is never left out.
        is_cut: whether its cells are cut before any column is left out.
        is_number: whether it is aligned to the right.
    """

    heading: str
    rank: int = 0
    is_cut: bool = False
    is_number: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return the table as lines; those of `width` characters at the most leave out what has no room.

    Args:
        columns: shape (n,).
        rows: shape (m, n), each cell one line.
        width: None = whatever it takes.
    """
    cells = [[column.heading for column in columns], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    kept = list(range(len(columns)))
    if width is not None:
        kept = _fitting(columns, widths, width)
        widths = _cut(columns, widths, kept, width)
    return [_line([_cell(row[index], widths[index], columns[index]) for index in kept]) for row in cells]


def duration(seconds: float) -> str:
    """Return a time in its two largest units: `42s`, `12m03s`, `3h12m`, `5d04h`."""
    whole = max(int(seconds), 0)
    for large, small, name, lower in ((86400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= large:
            return f"{whole // large}{name}{whole % large // small:02}{lower}"
    return f"{whole}s"


def end_of(state: RunState) -> str:
    """Return how a run has ended: cause, the line of the log that shows it, what to do."""
    head = f"{state.name} {_ENDS.get(state.state, state.state)}" + (f": {plain(state.cause)}" if state.cause else "")
    if state.state not in ("failed", LOST):
        return head
    failure = state.record.get("failure")
    return "\n".join([head, *_evidence(state, failure if isinstance(failure, dict) else {})])


def state_words(state: RunState) -> str:
    """Return the state of a run, with the phase of its start."""
    return f"{state.state} ({state.phase})" if state.phase else state.state


def plain(text: str) -> str:
    """Return `text` without what would move the cursor or change colours."""
    return "".join(char if char.isprintable() else "?" for char in text)


def coloured(line: str, state: str, stream: TextIO) -> str:
    """Return `line` with the name of `state` in it in colour, where `stream` is a terminal that wants any."""
    style = _STYLES.get(state)
    if style is None or not is_colourful(stream):
        return line
    return line.replace(f" {state}", f" \x1b[{style}m{state}\x1b[0m", 1)


def is_colourful(stream: TextIO) -> bool:
    """Whether colours are wanted on `stream`."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def width_of(stream: TextIO) -> int | None:
    """Return how many characters a line of `stream` has; None where it is no terminal, so that nothing is cut."""
    return shutil.get_terminal_size((80, 24)).columns if stream.isatty() else None


def say(text: str) -> None:
    """Print `text` on stdout; nobody may read any more."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        close_stdout()


_ENDS = {"stopped": "was stopped", "failed": "failed", DONE: "is done", LOST: "is lost", UNREADABLE: "is unreadable"}
_MAX_JOBS = 5


def _evidence(state: RunState, failure: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(state, SubmittedState):
        yield from _jobs(state)
        return
    number = failure.get("line_number") if state.state == "failed" else None
    yield f"  log:  {state.folder.server_log}" + (f":{number}" if number else "")
    if state.state == LOST:
        return
    if failure.get("line"):
        yield f"    {plain(str(failure['line']))}"
    if failure.get("override"):
        yield f"  try:  {failure['override']}"
    elif failure.get("fix"):
        yield f"  next: {failure['fix']}"


def _jobs(state: SubmittedState) -> Iterator[str]:
    ended = [element for element in state.elements if element.state in ("failed", LOST)]
    for element in ended[:_MAX_JOBS]:
        yield f"  job {element.job_id} {_ENDS[element.state]}: {plain(element.reason or 'see its log')}"
        yield from [f"    log: {element.log}"] if element.log else []
    if len(ended) > _MAX_JOBS:
        yield f"  and {len(ended) - _MAX_JOBS} more"
    yield f"  next: mixvllm resume {state.folder.path}"


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    kept = list(range(len(columns)))
    for index in sorted(kept, key=lambda index: -columns[index].rank):
        least = sum(min(widths[i], _MIN_WIDTH) if columns[i].is_cut else widths[i] for i in kept)
        if least + 2 * (len(kept) - 1) <= width or not columns[index].rank:
            break
        kept.remove(index)
    return kept


def _cut(columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int], width: int) -> list[int]:
    room = width - sum(widths[i] for i in kept if not columns[i].is_cut) - 2 * (len(kept) - 1)
    cut = max(room, _MIN_WIDTH)
    return [min(each, cut) if column.is_cut else each for column, each in zip(columns, widths, strict=True)]


def _cell(text: str, width: int, column: Column) -> str:
    if len(text) > width:
        text = f"…{text[len(text) - width + 1 :]}"  # the end of a model's name tells more than its beginning
    return text.rjust(width) if column.is_number else text.ljust(width)


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cells).rstrip()
