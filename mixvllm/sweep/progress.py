"""How far a sweep is, in one line, from what is recorded by now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any


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


def progress_line(progress: Progress, width: int = 80) -> str:
    """Return how far the sweep is: `5/12 points, 1 failed, about 4 min left; running 5 (bench 3 s)`.

    Args:
        progress: now.
        width: characters; what is longer is cut.
    """
    parts = [f"{progress.num_done}/{len(progress.planned)} points"]
    verdicts = Counter(record["verdict"] for record in progress.records)
    parts += [f"{verdicts[verdict]} {verdict}" for verdict in ("failed", "invalid") if verdicts[verdict]]
    if progress.eta_s is not None:
        parts.append(f"about {duration(progress.eta_s)} left")
    running = [f"{one.name} ({one.phase} {duration(one.since_s)})" for one in progress.running]
    line = ", ".join(parts)
    return cut(f"{line}; running {', '.join(running)}" if running else line, width)


def duration(seconds: float) -> str:
    """Return a span to a person's precision: `42 s`, `7 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def cut(line: str, width: int) -> str:
    """Return `line`, at most `width` characters of it."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _ready_s(records: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return how long the starts took, each server once."""
    starts = {record.get("server_run"): (record.get("start") or {}).get("ready_s") for record in records}
    return [seconds for seconds in starts.values() if seconds is not None]
