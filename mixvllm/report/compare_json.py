"""A comparison as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mixvllm.report.compare import Breach, Comparison, Pair
from mixvllm.report.compare_change import Change
from mixvllm.report.metrics import metric_of


def json_text(comparison: Comparison, breaches: Sequence[Breach], asked: Sequence[str] = ()) -> str:
    """Return the whole comparison as JSON: all pairs, and of each all metrics that both sides have, or `asked`."""
    metrics = tuple(asked) or comparison.metrics
    value = {
        "a": [str(source.path) for source in comparison.a.sources],
        "b": [str(source.path) for source in comparison.b.sources],
        "differs_as_a_whole": {key.key: {"a": key.a, "b": key.b} for key in comparison.side_keys},
        "environment": {name: {"a": a, "b": b} for name, (a, b) in comparison.environment.items()},
        "keys": comparison.keys,
        "pairs": [_pair_json(comparison, pair, metrics) for pair in comparison.pairs],
        "only_a": [point.name for point in comparison.only_a],
        "only_b": [point.name for point in comparison.only_b],
        "overall": {metric: _overall_json(comparison, metric) for metric in metrics},
        "failed_conditions": [_breach_json(breach) for breach in breaches],
        "remarks": comparison.remarks,
    }
    return json.dumps(value, indent=1, ensure_ascii=False, default=str)


def _pair_json(comparison: Comparison, pair: Pair, metrics: Iterable[str]) -> dict[str, Any]:
    return {
        "a": pair.a.name,
        "b": pair.b.name,
        "labels": {key: pair.a.value(key) for key in comparison.keys},
        "verdicts": {"a": pair.a.verdict, "b": pair.b.verdict},
        "metrics": dict(_changes_json(pair, metrics)),
    }


def _changes_json(pair: Pair, metrics: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for metric in metrics:
        change = pair.change(metric)
        if change is not None:
            yield metric, _change_json(change)


def _change_json(change: Change) -> dict[str, Any]:
    return {
        "a": change.a,
        "b": change.b,
        "num_repeats": change.num,
        "difference": change.difference,
        "ci95_low": change.low,
        "ci95_high": change.high,
        "difference_percent": change.percent(change.difference),
        "is_paired": change.is_paired,
        "verdict": change.verdict,
    }


def _overall_json(comparison: Comparison, metric: str) -> dict[str, Any]:
    overall = comparison.overall(metric)
    return {
        "num_pairs": overall.num,
        "verdicts": dict(overall.verdicts),
        "geometric_mean_change_percent": overall.percent,
        "is_higher_better": metric_of(metric).is_higher_better,
    }


def _breach_json(breach: Breach) -> dict[str, Any]:
    change = None if breach.change is None else _change_json(breach.change)
    return {"condition": breach.limit.text, "a": breach.pair.a.name, "b": breach.pair.b.name, "change": change}
