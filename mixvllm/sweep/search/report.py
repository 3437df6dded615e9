"""What a search found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mixvllm.sweep.best import Objective
from mixvllm.sweep.faults import shown_labels
from mixvllm.sweep.result_lines import table_lines
from mixvllm.sweep.results import Results, Row
from mixvllm.sweep.search.space import Space
from mixvllm.sweep.search.study import Trial
from mixvllm.sweep.text_table import counted

_MAX_ROWS = 10
_MAX_REASONS = 5


def front(rows: Sequence[Row], objectives: Sequence[Objective]) -> list[Row]:
    """Return those of the summary rows `rows` that no other one beats: better in one objective, worse in none.

    The best by the first objective comes first.
    """
    scored = [(_score(row, objectives), row) for row in rows if _is_measured(row, objectives)]
    kept = [(score, row) for score, row in scored if not any(_beats(other, score) for other, _ in scored)]
    return [row for _, row in sorted(kept, key=lambda one: one[0], reverse=True)]


def best_first(rows: Sequence[Row], objectives: Sequence[Objective]) -> list[Row]:
    """Return the measured ones of the summary rows `rows`, the best by the first objective first."""
    measured = [row for row in rows if _is_measured(row, objectives)]
    return sorted(measured, key=lambda row: _score(row, objectives), reverse=True)


def report_lines(
    results: Results, trials: Sequence[Trial], space: Space, objectives: Sequence[Objective], width: int = 80
) -> list[str]:
    """Return how many points were tried, the best of them, and why others have no values.

    Args:
        results: of the sweep that the search is.
        trials: of the study.
        width: characters of the table.
    """
    is_single = len(objectives) == 1
    chosen = (best_first if is_single else front)(results.summaries, objectives)
    title = "the best:" if is_single else "those that no other one beats in all objectives:"
    left = f"and {len(chosen) - _MAX_ROWS} more" if len(chosen) > _MAX_ROWS else None
    kept = replace(results, rows=tuple(chosen[:_MAX_ROWS] if is_single else chosen))
    table = [title, *table_lines(kept, width, objectives)] if chosen else ["no trial has values"]
    return [*_counts(trials, space), *table, *([left] if left and is_single else []), *_reasons(trials, space)]


def _counts(trials: Sequence[Trial], space: Space) -> Iterator[str]:
    states = Counter(trial.state for trial in trials)
    parts = [f"{states['measured']} measured", *(f"{states[one]} {one}" for one in ("pruned", "open") if states[one])]
    yield f"{counted(len(trials), 'trial')} of {counted(space.num_points, 'point')}: {', '.join(parts)}"


def _reasons(trials: Sequence[Trial], space: Space) -> Iterator[str]:
    pruned = [trial for trial in trials if trial.state == "pruned"]
    for trial in pruned[:_MAX_REASONS]:
        yield f"trial {trial.number} pruned ({shown_labels(space.labels(trial.picks))}): {trial.reason}"
    if len(pruned) > _MAX_REASONS:
        yield f"and {len(pruned) - _MAX_REASONS} more are pruned"


def _is_measured(row: Mapping[str, Any], objectives: Sequence[Objective]) -> bool:
    return row["verdict"] == "ok" and all(row.get(one.metric) is not None for one in objectives)


def _score(row: Mapping[str, Any], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the objectives of a row such that more is better in each."""
    return tuple(row[one.metric] if one.is_higher_better else -row[one.metric] for one in objectives)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
