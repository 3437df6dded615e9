"""What is shown of a study, and against what: the metrics and keys of charts and tables."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.metrics import metric_of
from mixvllm.report.study import Study, StudyPoint
from mixvllm.sweep.best import OBJECTIVES, Best, Objective, best_point, searched_objectives

_LATENCIES = (
    "p99_ttft_ms",
    "p95_ttft_ms",
    "median_ttft_ms",
    "mean_ttft_ms",
    "p99_e2el_ms",
    "mean_e2el_ms",
    "latency_ms",
)
_THROUGHPUTS = ("output_tokens_per_s", "total_tokens_per_s", "request_throughput_per_s")
_MAX_GUESSED = 3


@dataclass(frozen=True)
class Axes:
    """What the charts show until somebody chooses otherwise; None where nothing fits.

    Args:
        latency: metric of the trade-off that less is better of.
        throughput: metric of the trade-off that more is better of.
        x: key of the curves.
        y: metric of the curves.
        by: key that tells the curves apart.
    """

    latency: str | None
    throughput: str | None
    x: str | None
    y: str | None
    by: str | None


@dataclass(frozen=True)
class Asked:
    """What a user has chosen; None leaves it to `choose_axes`."""

    latency: str | None = None
    throughput: str | None = None
    x: str | None = None
    y: str | None = None
    by: str | None = None


def choose_axes(study: Study, asked: Asked) -> Axes:
    """Return what is shown.

    Raises:
        ConfigError: a metric was not measured, or the points have no such key; all of those are named.
    """
    faults = [
        *_unknown("--latency", asked.latency, study.metrics),
        *_unknown("--throughput", asked.throughput, study.metrics),
        *_unknown("--y", asked.y, study.metrics),
        *(fault for name, key in (("--x", asked.x), ("--by", asked.by)) for fault in _unknown_key(name, key, study)),
    ]
    if faults:
        raise ConfigError(faults)
    keys = [key for key in study.swept if _num_values(study, key) > 1]
    x = asked.x or _best_x(study, keys)
    throughput = asked.throughput or _first(_THROUGHPUTS, study.metrics, lambda name: metric_of(name).is_throughput)
    return Axes(
        latency=asked.latency or _first(_LATENCIES, study.metrics, lambda name: metric_of(name).is_latency),
        throughput=throughput,
        x=x,
        y=asked.y or throughput or next(iter(study.metrics), None),
        by=asked.by or min((key for key in keys if key != x), key=lambda key: _num_values(study, key), default=None),
    )


def objectives_of(study: Study) -> list[Objective]:
    """Return what is asked of the points: what a search was for, else what is asked of a serving benchmark."""
    searched: Mapping[str, Any] = {}
    for source in study.sources:
        wanted = source.settings.get("objective")
        searched = {**searched, **(wanted if isinstance(wanted, dict) else {})}
    usual = (objective for objective in OBJECTIVES if objective.metric not in searched)
    asked = [*searched_objectives(searched), *usual]
    found = [objective for objective in asked if objective.metric in study.metrics]
    if found:
        return found
    guessed = [metric_of(name) for name in study.metrics]
    known = [Objective(one.name, one.is_higher_better) for one in guessed if one.is_higher_better is not None]
    return known[:_MAX_GUESSED]


def best_of(points: Sequence[StudyPoint], objective: Objective) -> Best | None:
    """Return the best of `points`, and those that it cannot be told from; None where fewer than two are good.

    The rows of the answer hold the position of their point as `at`.
    """
    rows = [row for at, point in enumerate(points) if (row := _row(point, at, objective.metric)) is not None]
    return best_point(rows, objective)


def _row(point: StudyPoint, at: int, metric: str) -> dict[str, Any] | None:
    summary = point.summary(metric)
    if summary is None:
        return None
    return {
        "row": "summary",
        "at": at,
        "verdict": point.verdict,
        "num_ok": summary.num,
        metric: summary.mean,
        f"{metric}_std": summary.std,
        f"{metric}_ci95_low": summary.ci95_low,
        f"{metric}_ci95_high": summary.ci95_high,
    }


def _first(wanted: Iterable[str], metrics: Sequence[str], fits: Any) -> str | None:
    known = (name for name in wanted if name in metrics)
    return next(known, None) or next((name for name in metrics if fits(name)), None)


def _best_x(study: Study, keys: Sequence[str]) -> str | None:
    """Return the key that a curve is best drawn over: numbers before switches, the load before the server."""

    def rank(key: str) -> tuple[bool, bool, int]:
        return _is_numeric(study, key), key.startswith("workload."), _num_values(study, key)

    return max(keys, key=rank, default=None)


def _is_numeric(study: Study, key: str) -> bool:
    values = [point.value(key) for point in study.points]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _num_values(study: Study, key: str) -> int:
    return len({str(point.value(key)) for point in study.points})


def _unknown(option: str, name: str | None, known: Sequence[str]) -> list[Fault]:
    if name is None or name in known:
        return []
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known) or 'none'}"
    return [Fault(option, f"no such metric was measured; {hint}", name)]


def _unknown_key(option: str, key: str | None, study: Study) -> list[Fault]:
    known = {*study.swept, *(name for point in study.points[:1] for name in point.flat_config())}
    if key is None or key in known:
        return []
    close = difflib.get_close_matches(key, sorted(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"those that vary are {', '.join(study.swept) or 'none'}"
    return [Fault(option, f"the points have no such key; {hint}", key)]
