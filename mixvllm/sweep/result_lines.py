"""The results of a sweep in words, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixvllm.sweep.best import OBJECTIVES, Best, Objective, best_point, summary_of
from mixvllm.sweep.faults import shown_label, shown_labels
from mixvllm.sweep.results import Results, Row
from mixvllm.sweep.text_table import rounded, short_names, table

_MAX_METRICS = 3
_MAX_RIVALS = 5


def table_lines(results: Results, width: int = 80, objectives: Sequence[Objective] = OBJECTIVES) -> list[str]:
    """Return the points with their main metrics, the best of them, and those without numbers with their reasons.

    Args:
        results: as read.
        width: characters of the table.
        objectives: what is asked; their metrics are shown, the first three that were measured.
    """
    asked = [objective for objective in objectives if objective.metric in results.metrics]
    metrics = [objective.metric for objective in asked][:_MAX_METRICS] or list(results.metrics[:_MAX_METRICS])
    return [
        *_points(results, metrics, width),
        *(line for objective in asked for line in _best(results, objective)),
        *_without_numbers(results),
    ]


def measured(row: Mapping[str, Any], metric: str) -> str:
    """Return a mean with half of its interval, to as many digits as that has a meaning: `1234 ±12`."""
    if row.get(metric) is None:
        return "-"
    summary = summary_of(row, metric)
    if summary.half_width is None:
        return rounded(summary.mean, abs(summary.mean) / 100)
    return f"{rounded(summary.mean, summary.half_width)} ±{rounded(summary.half_width, summary.half_width)}"


def _points(results: Results, metrics: Sequence[str], width: int) -> list[str]:
    header = ["point", *short_names(results.swept), "ok", *metrics]
    rows = [
        [
            str(row["point"]),
            *(shown_label(key, row.get(key)) for key in results.swept),
            _verdict(row),
            *(measured(row, metric) for metric in metrics),
        ]
        for row in results.summaries
    ]
    first_metric = len(results.swept) + 2
    return table(header, rows, width, right=frozenset([0, *range(first_metric, len(header))]))


def _verdict(row: Row) -> str:
    return f"{row['num_ok']}/{row['num_repeats']}" if row["verdict"] == "ok" else str(row["verdict"])


def _best(results: Results, objective: Objective) -> Iterator[str]:
    best = best_point(results.summaries, objective)
    if best is None:
        return
    direction = "highest" if objective.is_higher_better else "lowest"
    if best.rivals:
        yield f"{direction} {objective.metric}: no clear winner; {_rivals(best)}"
    else:
        labels = shown_labels({key: best.row.get(key) for key in results.swept})
        value = measured(best.row, objective.metric)
        yield f"{direction} {objective.metric}: {value}, point {best.row['point']}: {labels}"


def _rivals(best: Best) -> str:
    if best.row["num_ok"] < 2:
        return "a single repeat has no interval"
    points = [str(row["point"]) for row in (best.row, *best.rivals)]
    rest = f" and {len(points) - _MAX_RIVALS} more" if len(points) > _MAX_RIVALS else ""
    return f"the 95 % intervals of points {', '.join(points[:_MAX_RIVALS])}{rest} overlap"


def _without_numbers(results: Results) -> Iterator[str]:
    for row in results.summaries:
        if row["reason"]:
            labels = shown_labels({key: row.get(key) for key in results.swept})
            yield f"point {row['point']} {row['verdict']} ({labels}): {row['reason']}"
