"""Which metrics of a comparison people look for first, and which way they are better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixvllm.report.metrics import metric_of
from mixvllm.sweep.best import OBJECTIVES

DEFAULT_METRICS = tuple(objective.metric for objective in OBJECTIVES)
"""Those that are shown where none are asked for; of the ones that were measured."""


def shown_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return those of `metrics` that a person looks for first; where there are none of them, the first four."""
    usual = tuple(metric for metric in DEFAULT_METRICS if metric in metrics)
    return usual or tuple(metrics[:4])


def direction_words(metric: str) -> str:
    """Return which direction is the better one, in words."""
    is_higher = metric_of(metric).is_higher_better
    return "" if is_higher is None else "higher is better" if is_higher else "lower is better"


def common(a: Iterable[str], b: Iterable[str]) -> tuple[str, ...]:
    """Return the names that both have, sorted."""
    return tuple(sorted({*a} & {*b}))
