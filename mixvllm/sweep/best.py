"""Which point of a sweep is the best one for an objective, where that is clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixvllm.sweep.statistics import Summary, overlap


@dataclass(frozen=True)
class Objective:
    """What is wanted.

    Args:
        metric: name of the column.
        is_higher_better: more is better.
    """

    metric: str
    is_higher_better: bool


OBJECTIVES = (
    Objective("slo_request_rate_per_s", True),
    Objective("slo_max_concurrency", True),
    Objective("request_goodput_per_s", True),
    Objective("output_tokens_per_s", True),
    Objective("request_throughput_per_s", True),
    Objective("p99_ttft_ms", False),
    Objective("p99_tpot_ms", False),
    Objective("p99_e2el_ms", False),
)
"""What is asked of a serving benchmark; those whose metric was measured are answered."""


def searched_objectives(objective: Mapping[str, str]) -> tuple[Objective, ...]:
    """Return what a search is for, from `sweep.objective`."""
    return tuple(Objective(metric, direction == "maximize") for metric, direction in objective.items())


@dataclass(frozen=True)
class Best:
    """The point with the best mean.

    Args:
        row: its summary.
        rivals: summaries of points whose intervals overlap with its own: where there are any, there is no clear winner.
    """

    row: Mapping[str, Any]
    rivals: tuple[Mapping[str, Any], ...]


def best_point(rows: Sequence[Mapping[str, Any]], objective: Objective) -> Best | None:
    """Return the best of the summary rows among `rows`; None where fewer than two points are good.

    Only points with the verdict `ok` take part: one that failed or is invalid has no numbers.
    """
    metric = objective.metric
    good = [row for row in rows if row["row"] == "summary" and row["verdict"] == "ok" and row.get(metric) is not None]
    if len(good) < 2:
        return None
    best = (max if objective.is_higher_better else min)(good, key=lambda row: row[metric])
    summary = summary_of(best, metric)
    rivals = tuple(row for row in good if row is not best and overlap(summary, summary_of(row, metric)))
    return Best(best, rivals)


def summary_of(row: Mapping[str, Any], metric: str) -> Summary:
    """Return what a summary row says of `metric`."""
    mean = row[metric]
    low, high = row.get(f"{metric}_ci95_low"), row.get(f"{metric}_ci95_high")
    return Summary(row["num_ok"], mean, row.get(f"{metric}_std"), low, high)
