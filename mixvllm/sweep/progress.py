"""How far a sweep is, in one line, from what is recorded by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mixvllm.sweep.text_table import cut

_THROUGHPUTS = {"output_tokens_per_s": "tokens/s", "request_throughput_per_s": "requests/s"}
"""Metrics that tell how much a server does, the first one first, and their units in words."""


@dataclass(frozen=True)
class Running:
    """A server that is starting, or measuring.

    Args:
        name: what is shown of it, e.g. the number of its point.
        phase: what it does.
        since_s: seconds that it does so.
    """

    name: str
    phase: str
    since_s: float


_MAX_RUNNING = 8
"""Servers that are shown; the others are counted."""


@dataclass(frozen=True)
class Throughput:
    """What was measured so far.

    Args:
        unit: in words.
        best: of all repeats.
        point: content hash of the point that reached it.
        last: of the newest repeat.
    """

    unit: str
    best: float
    point: str
    last: float


@dataclass(frozen=True)
class Progress:
    """A sweep at one moment.

    Args:
        planned: how many repeats each point has, by its content hash.
        num_servers: planned.
        num_slots: servers that may run at once.
        records: of the repeats that are done.
        num_servers_begun: servers that were started, with those that have ended.
        running: what goes on.
    """

    planned: Mapping[str, int]
    num_servers: int
    num_slots: int
    records: Sequence[Mapping[str, Any]]
    num_servers_begun: int
    running: Sequence[Running] = ()

    @property
    def num_done(self) -> int:
        """How many points have all their repeats, whatever came of them."""
        done = Counter(record["point"] for record in self.records)
        return sum(done[point] >= num_repeats for point, num_repeats in self.planned.items())

    @property
    def throughput(self) -> Throughput | None:
        """What the repeats that are ok have reached so far; None where none tells of it."""
        found = [(record["point"], throughput_of(record)) for record in self.records]
        for metric, unit in _THROUGHPUTS.items():
            values = [(values[metric], point) for point, values in found if metric in values]
            if values:
                best, point = max(values)
                return Throughput(unit, best, point, values[-1][0])
        return None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the end, if what is left takes as long as what is done did; None before the first repeat.

        What runs now counts with what it has not had yet of a mean repeat; never less than none.
        """
        durations = [record["duration_s"] for record in self.records]
        if not durations:
            return None
        ready = _ready_s(self.records)
        left_s = max(0, sum(self.planned.values()) - len(durations)) * fmean(durations)
        left_s += max(0, self.num_servers - self.num_servers_begun) * (fmean(ready) if ready else 0.0)
        under_way_s = sum(min(one.since_s, fmean(durations)) for one in self.running)
        return max(0.0, left_s - under_way_s) / max(1, min(self.num_slots, self.num_servers))


def progress_lines(progress: Progress, width: int, numbers: Mapping[str, int]) -> list[str]:
    """Return how far the sweep is, in lines:

        5/12 points, 1 failed, about 4 min left
        best 1,234 tokens/s (point 3), last 1,180
        point 5: repeat 2, 3 s

    Args:
        progress: now.
        width: characters; what is longer is cut.
        numbers: of the points, by their content hashes.
    """
    running = [f"{one.name}: {one.phase}, {duration(one.since_s)}" for one in progress.running]
    more = [f"and {len(running) - _MAX_RUNNING} more"] if len(running) > _MAX_RUNNING else []
    lines = [done_words(progress), throughput_words(progress.throughput, numbers), *running[:_MAX_RUNNING], *more]
    return [cut(line, width) for line in lines if line]


def done_words(progress: Progress) -> str:
    """Return how much is done, and how long the rest may take."""
    parts = [f"{progress.num_done}/{len(progress.planned)} points"]
    verdicts = Counter(record["verdict"] for record in progress.records)
    parts += [f"{verdicts[verdict]} {verdict}" for verdict in ("failed", "invalid") if verdicts[verdict]]
    if progress.eta_s is not None:
        parts.append(f"about {duration(progress.eta_s)} left")
    return ", ".join(parts)


def throughput_words(found: Throughput | None, numbers: Mapping[str, int]) -> str:
    """Return what was measured so far: the best, and the last; empty where nothing was."""
    if found is None:
        return ""
    best, last = figure(found.best), figure(found.last)
    return f"best {best} {found.unit} (point {numbers.get(found.point, '?')}), last {last}"


def throughput_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a repeat that tell how much its server did; none where it is not ok."""
    metrics = record.get("metrics") or {}
    if record.get("verdict") != "ok" or not isinstance(metrics, Mapping):
        return {}
    return {name: metrics[name] for name in _THROUGHPUTS if isinstance(metrics.get(name), int | float)}


def measured_words(record: Mapping[str, Any]) -> str:
    """Return the throughput of one repeat: `1,234 tokens/s`; empty where it has none."""
    values = throughput_of(record)
    return next((f"{figure(values[name])} {unit}" for name, unit in _THROUGHPUTS.items() if name in values), "")


def figure(value: float) -> str:
    """Return a number with the digits that count: `1,234`, `98.7`, `0.123`."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a span to a person's precision: `42 s`, `7 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _ready_s(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return how long the starts took, each server once."""
    starts = {record.get("server_run"): (record.get("start") or {}).get("ready_s") for record in records}
    return [seconds for seconds in starts.values() if seconds is not None]
