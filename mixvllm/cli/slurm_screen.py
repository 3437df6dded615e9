"""What a sweep on a cluster shows while it runs: a live table of its jobs on a terminal, lines elsewhere."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.cluster.follow import JobState
from mixvllm.sweep.progress import cut, progress_line
from mixvllm.sweep.text_table import table

_MAX_ROWS = 20
_ORDER = ("RUNNING", "CONFIGURING", "COMPLETING", "PENDING")
_HEADER = ("job", "state", "reason", "node", "does")


class SlurmScreen(SweepScreen):
    """Shows a sweep and its jobs; all of it goes to stderr."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._states: Sequence[JobState] = ()
        self._shown = ""
        self._ended: set[str] = set()
        self._table: Live | None = None

    def show_jobs(self, states: Sequence[JobState]) -> None:
        """Take the states of all jobs."""
        for state in states:
            if state.has_ended and state.job.job_id not in self._ended:
                self._ended.add(state.job.job_id)
                self._say_end(state)
        self._states = states
        words = summary(states)
        if not self._stream.isatty() and words != self._shown:
            self.say(words)
        self._shown = words
        self._refresh()

    def _say_end(self, state: JobState) -> None:
        if state.state != "COMPLETED":
            reason = f" ({state.reason})" if state.reason else ""
            self.say(f"job {state.job.job_id} ended: {state.state}{reason}; log: {state.job.log}")

    def close(self) -> None:
        """Take the table away."""
        if self._table is not None:
            with suppress(OSError):
                self._table.stop()
            self._table = None

    def _refresh(self) -> None:
        if not self._stream.isatty():
            return
        if self._table is None:
            console = Console(file=self._stream, force_terminal=True, highlight=False)
            self._table = Live(console=console, transient=True, auto_refresh=False)
            self._table.start()
        self._table.update(Text("\n".join(self._lines(max(40, shutil.get_terminal_size().columns - 1)))), refresh=True)

    def _lines(self, width: int) -> list[str]:
        living = sorted((state for state in self._states if not state.has_ended), key=_place)
        rows = [self._row(state) for state in living[:_MAX_ROWS]]
        more = [f"and {len(living) - _MAX_ROWS} more"] if len(living) > _MAX_ROWS else []
        head = [progress_line(self._progress(), width), cut(summary(self._states), width)]
        return [*head, *(table(_HEADER, rows, width, right=frozenset()) if rows else []), *more]

    def _row(self, state: JobState) -> tuple[str, ...]:
        name, phase, _ = self._running.get(state.job.element.server_key, ("", "", 0.0))
        does = f"{name} {phase}".strip() if state.state == "RUNNING" else ""
        return state.job.job_id, state.state, state.reason, state.node, does


def summary(states: Sequence[JobState]) -> str:
    """Return how many jobs are in which state: `jobs: 3 RUNNING, 2 PENDING (Resources), 1 COMPLETED`."""
    counts = Counter((state.state, state.reason if state.state == "PENDING" else "") for state in states)
    words = [f"{number} {state}{f' ({reason})' if reason else ''}" for (state, reason), number in counts.items()]
    return f"jobs: {', '.join(words)}"


def _place(state: JobState) -> tuple[int, str]:
    at = _ORDER.index(state.state) if state.state in _ORDER else len(_ORDER)
    return at, state.job.job_id
