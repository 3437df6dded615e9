"""`mixvllm top`: what running servers do, live; from the files of their run folders alone."""

from __future__ import annotations

import io
import os
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.terminal import is_live
from mixvllm.cli.top_lines import (
    MAX_NUMBERS_WIDTH,
    ROW_HEADINGS,
    block,
    duration,
    json_line,
    plain_line,
    row,
    state_words,
)
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import UNREADABLE
from mixvllm.runs.snapshot import Snapshot, read_snapshot

_NUM_SAMPLES = 24  # of which the sparkline shows the newest
_BLOCK_LINES = 7
_MOST_TELLING = ("out/s", "run", "wait", "5xx", "p95 ms", "KV", "up", "in/s", "GPU")
"""Columns of the table, in the order in which they are given up last where it is narrow."""
_NARROW = 70  # columns, below which the lines of a block are wrapped
_STYLES = {
    "ready": "green",
    "starting": "magenta",
    "draining": "magenta",
    "hung": "bold red",
    "failed": "bold red",
    "stopped": "dim",
    UNREADABLE: "bold red",
}


def show_top(
    folders: Sequence[Path],
    *,
    once: bool,
    period_s: float,
    as_json: bool = False,
    stream: TextIO | None = None,
) -> int:
    """Show the runs of `folders` until Ctrl-C; return the exit code.

    A terminal gets a view that is drawn anew each period. Elsewhere, and on a dumb terminal, each run is a line each
    period; with `as_json` a JSON object.

    Args:
        folders: of the runs.
        once: show them once and return.
        period_s: seconds from one look to the next.
        as_json: write JSON, whatever the terminal is.
        stream: where to; None = stdout.
    """
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a name that the terminal cannot show is no error
    runs = [RunFolder(folder) for folder in folders]
    try:
        if as_json or not is_live(stream):
            _write_lines(runs, stream, None if once else period_s, as_json=as_json)
        elif once:
            console = Console(file=stream, highlight=False)
            console.print(render(_look(runs), console))
        else:
            _draw(runs, Console(file=stream, highlight=False), period_s)
    except KeyboardInterrupt:
        pass  # how it is meant to end
    except BrokenPipeError:  # nobody reads any more: what is still buffered must not fail the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return EXIT_OK


def render(runs: Sequence[Snapshot], console: Console) -> Group | Table | Text:
    """Return the view: a block for each run, or a row where blocks would not fit the height of `console`."""
    if not runs:
        return Text("no runs")
    if len(runs) > 1 and len(runs) * _BLOCK_LINES > console.height:
        return _table(runs, console.width)
    is_unicode = (console.encoding or "").startswith("utf")
    return Group(*(line for run in runs for line in (*_block(run, is_unicode, console.width), Text(""))))


def _draw(runs: Sequence[RunFolder], console: Console, period_s: float) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(render(_look(runs), console), refresh=True)
            time.sleep(period_s)


def _write_lines(runs: Sequence[RunFolder], stream: TextIO, period_s: float | None, *, as_json: bool) -> None:
    show = json_line if as_json else plain_line
    while True:
        for run in _look(runs):
            stream.write(f"{show(run)}\n")
        stream.flush()
        if period_s is None:
            return
        time.sleep(period_s)


def _look(runs: Sequence[RunFolder]) -> list[Snapshot]:
    return [read_snapshot(run, _NUM_SAMPLES) for run in runs]


def _block(run: Snapshot, is_unicode: bool, width: int) -> list[Text]:
    heading = Text.assemble(
        (run.model or run.folder.name, "bold"),
        "  ",
        (state_words(run), _style(run)),
        f" {duration(run.in_state_s if run.uptime_s is None else run.uptime_s)}",
        "" if run.attempt <= 1 else f"  start {run.attempt}",
        f"  {run.folder.name}" if run.model else "",
    )
    lines = [heading, *(Text(line) for text in block(run, is_unicode=is_unicode) for line in _wrapped(text, width))]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _wrapped(line: str, width: int) -> list[str]:
    """Return `line`, on a narrow terminal in several; its columns need more than that has."""
    if width >= _NARROW or len(line) <= width:
        return [line]
    return textwrap.wrap(" ".join(line.split()), width, initial_indent="  ", subsequent_indent="    ")


def _table(runs: Sequence[Snapshot], width: int) -> Table:
    max_model_width = max(width - MAX_NUMBERS_WIDTH, len("llama3_8b"))
    rows = [row(run) for run in runs]
    shown = _fitting(rows, min(max_model_width, max(len(cells[0]) for cells in rows)), width)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for number in shown:
        table.add_column(ROW_HEADINGS[number], justify="left" if number < 2 else "right", no_wrap=True)
    for run, cells in zip(runs, rows, strict=True):
        name = Text(cells[0])
        name.truncate(max_model_width, overflow="ellipsis")
        table.add_row(name, Text(cells[1], _style(run)), *(cells[number] for number in shown[2:]))
    return table


def _fitting(rows: Sequence[Sequence[str]], model_width: int, width: int) -> list[int]:
    """Return the positions of the columns that fit, in order: model and state, and of the others the most telling."""
    widths = [max(len(heading), *(len(cells[at]) for cells in rows)) + 1 for at, heading in enumerate(ROW_HEADINGS)]
    room = width + 1 - model_width - 1 - widths[1]
    shown = [0, 1]
    for heading in _MOST_TELLING:
        at = ROW_HEADINGS.index(heading)
        if widths[at] > room:
            break
        room -= widths[at]
        shown.append(at)
    return sorted(shown)


def _style(run: Snapshot) -> str:
    return _STYLES.get(run.state, "") if run.state != "ready" or run.is_up else "bold red"
