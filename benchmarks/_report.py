"""What benchmarks share: interleaved pairs, medians with their spread, a table, one JSON object as the last line."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from mixvllm.errors import EngineNotFound
from mixvllm.vllm.installation import find_installation

A = TypeVar("A")
B = TypeVar("B")

_COLUMNS = "{:<27}  {:>2}  {:>16}  {:>16}  {:>17}  {}"  # up to 100 characters


@dataclass(frozen=True)
class Pairs:
    """A quantity measured in pairs, without mixvllm and with it.

    The figure is the median of the ratios within pairs, not the ratio of the medians: the load of a shared machine
    drifts over minutes, and the two of a pair, seconds apart, see nearly the same one. The order alternates, so that
    what is left of the drift cancels.

    Args:
        name: what was measured, with its unit.
        baseline: without mixvllm, shape (n,).
        ours: with it, shape (n,); entry i was measured next to entry i of `baseline`.
        limit: what the ratio may be at the most; None where there is no goal.
    """

    name: str
    baseline: Sequence[float]
    ours: Sequence[float]
    limit: float | None = None

    @property
    def ratios(self) -> list[float]:
        """Ours over the baseline, shape (n,)."""
        return [ours / baseline for baseline, ours in zip(self.baseline, self.ours, strict=True)]

    @property
    def figure(self) -> float:
        """The median of `ratios`."""
        return statistics.median(self.ratios)

    @property
    def cells(self) -> tuple[str, str, str]:
        """Columns of the table: the baseline, ours, the ratio."""
        return spread(self.baseline), spread(self.ours), spread(self.ratios)


@dataclass(frozen=True)
class Series:
    """A quantity that only mixvllm has. The figure is the largest value: a goal holds for every one.

    Args:
        name: what was measured, with its unit.
        ours: shape (n,).
        limit: what every value may be at the most; None where there is no goal.
    """

    name: str
    ours: Sequence[float]
    limit: float | None = None

    @property
    def figure(self) -> float:
        """The largest value."""
        return max(self.ours)

    @property
    def cells(self) -> tuple[str, str, str]:
        """Columns of the table: no baseline, ours, no ratio."""
        return "", spread(self.ours), ""


def measure_pairs(
    num_pairs: int, baseline: Callable[[], A], ours: Callable[[], B], say: Callable[[int, A, B], None]
) -> tuple[list[A], list[B]]:
    """Call both `num_pairs` times, in the order baseline, ours, ours, baseline, and return what they returned.

    Args:
        num_pairs: at least 1.
        baseline: measures without mixvllm.
        ours: measures with it.
        say: told of each pair, counted from 1.
    """
    baselines: list[A] = []
    own: list[B] = []
    for index in range(num_pairs):
        if index % 2 == 0:
            baselines.append(baseline())
            own.append(ours())
        else:
            own.append(ours())
            baselines.append(baseline())
        say(index + 1, baselines[-1], own[-1])
    return baselines, own


def report(name: str, what: str, rows: Sequence[Pairs | Series]) -> int:
    """Print the table and, as the last line, the figures as JSON; return 0 where every goal is met, else 1."""
    machine = describe_machine()
    print(f"{name}: {what}")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print()
    print(_COLUMNS.format("median (min-max)", "n", "without", "with mixvllm", "ratio", "at most"))
    for row in rows:
        print(_COLUMNS.format(row.name, len(row.ours), *row.cells, _goal(row)).rstrip())
    is_ok = all(is_met(row) for row in rows)
    print()
    print(json.dumps({"benchmark": name, "machine": machine, "figures": [_record(row) for row in rows], "ok": is_ok}))
    return 0 if is_ok else 1


def is_met(row: Pairs | Series) -> bool:
    """Whether the goal of `row` is met; one without a goal is."""
    return row.limit is None or row.figure <= row.limit


def spread(values: Sequence[float]) -> str:
    """Return the median, the smallest and the largest value, e.g. `20.4 (19.8-22.0)`."""
    digits = 2 if max(values) < 10 else 1 if max(values) < 100 else 0
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


def progress(text: str) -> None:
    """Tell somebody who waits; on stderr, so that stdout holds the report alone."""
    sys.stderr.write(f"{text}\n")


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on: releases, processor, cores that may be used, load over the last minute."""
    return {
        "mixvllm": version("mixvllm"),
        "vLLM": _vllm_version(),
        "Python": ".".join(map(str, sys.version_info[:3])),
        "CPU": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
    }


def _vllm_version() -> str:
    try:
        return find_installation(None).version
    except EngineNotFound:
        return "none"


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _goal(row: Pairs | Series) -> str:
    if row.limit is None:
        return ""
    return f"{row.limit:g} {'met' if is_met(row) else 'MISSED'}"


def _record(row: Pairs | Series) -> dict[str, Any]:
    figures = {name: value for name, value in asdict(row).items() if name != "name"}
    return {"name": row.name.strip(), "n": len(row.ours), "figure": row.figure, "ok": is_met(row), **figures}
