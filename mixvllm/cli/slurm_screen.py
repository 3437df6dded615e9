"""What a sweep on a cluster shows while it runs: a live table of its jobs on a terminal, lines elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.cluster.follow import JobState
from mixvllm.sweep.progress import progress_lines
from mixvllm.sweep.text_table import cut, table

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

    def show_jobs(self, states: Sequence[JobState]) -> None:
        """Take the states of all jobs."""
        for state in states:
            if state.has_ended and state.job.job_id not in self._ended:
                self._ended.add(state.job.job_id)
                self._say_end(state)
        self._states = states
        words = summary(states)
        if not self._is_live and words != self._shown:
            self.say(words)
        self._shown = words
        self._refresh()

    def _say_end(self, state: JobState) -> None:
        if state.state != "COMPLETED":
            reason = f" ({state.reason})" if state.reason else ""
            self.say(f"job {state.job.job_id} ended: {state.state}{reason}; log: {state.job.log}")

    def _lines(self, width: int) -> list[str]:
        living = sorted((state for state in self._states if not state.has_ended), key=_place)
        rows = [self._row(state) for state in living[:_MAX_ROWS]]
        more = [f"and {len(living) - _MAX_ROWS} more"] if len(living) > _MAX_ROWS else []
        progress = replace(self._progress(), running=())  # the table has them
        head = [*progress_lines(progress, width, self._numbers), cut(summary(self._states), width)]
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
