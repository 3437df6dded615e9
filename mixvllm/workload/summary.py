"""Several repeats as one table: mean and spread of each number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from mixvllm.workload.measurement import Measurement

_FIRST = ("request_throughput_per_s", "request_goodput_per_s", "output_tokens_per_s", "total_tokens_per_s")
_NOT_SHOWN = ("std_", "total_", "num_", "max_")
_SHOWN_ANYWAY = ("total_tokens_per_s",)
_HEADING = ("metric", "mean", "± sd", "least", "most")


def summarize(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Return the figures of a run: each repeat, and over those that are ok mean, spread, least and most of each metric.

    `sd` is the sample's standard deviation; null of a single repeat.
    """
    good = [one for one in measurements if one.verdict == "ok"]
    return {
        "num_repeats": len(measurements),
        "num_ok": len(good),
        "metrics": _spread(one.metrics for one in good),
        "server_metrics": _spread(one.server_metrics for one in good),
        "repeats": [one.record() for one in measurements],
    }


def summary_lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the figures of `summarize` as lines for a person; what is said of repeats that are not ok comes last."""
    rows = [_HEADING, *(_row(name, figures["metrics"][name]) for name in _shown(figures["metrics"]))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADING))]
    table = [_line(row, widths) for row in rows] if len(rows) > 1 else []
    return [*table, f"{figures['num_ok']} of {figures['num_repeats']} repeats are valid", *_notes(figures["repeats"])]


def _spread(samples: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float | int | None]]:
    columns: dict[str, list[float]] = {}
    for sample in samples:
        for name, value in sample.items():
            columns.setdefault(name, []).append(value)
    return {
        name: {
            "mean": fmean(values),
            "sd": stdev(values) if len(values) > 1 else None,
            "least": min(values),
            "most": max(values),
            "num": len(values),
        }
        for name, values in columns.items()
    }


def _shown(metrics: Mapping[str, Any]) -> list[str]:
    """Return the names that a person looks for, throughput first; the rest is in the records."""
    rest = [name for name in metrics if name in _SHOWN_ANYWAY or not name.startswith(_NOT_SHOWN)]
    return [*(name for name in _FIRST if name in rest), *(name for name in rest if name not in _FIRST)]


def _row(name: str, spread: Mapping[str, Any]) -> tuple[str, ...]:
    sd = "" if spread["sd"] is None else _text(spread["sd"])
    return name, _text(spread["mean"]), sd, _text(spread["least"]), _text(spread["most"])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = row
    columns = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *columns])


def _text(value: float) -> str:
    """Return four digits that count."""
    if value and abs(value) < 1000:
        return f"{value:.4g}"
    return f"{value:,.0f}"


def _notes(repeats: Iterable[Mapping[str, Any]]) -> list[str]:
    bad = [f"repeat {one['repeat']} {one['verdict']}: {one['reason']}" for one in repeats if one["verdict"] != "ok"]
    remarks = dict.fromkeys(remark for one in repeats for remark in one["remarks"])
    return [*bad, *(f"note: {remark}" for remark in remarks)]
