"""Durations as Prometheus counts them: how many were not longer than each bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Histogram:
    """Durations since the server began, or between two moments.

    Args:
        bounds_s: upper bounds, seconds, ascending, the last one infinite; shape (n,).
        counts: how many were not longer than each bound, so that it never falls; shape (n,).
        sum_s: of all durations, seconds.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[float, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """Number of durations."""
        return int(self.counts[-1]) if self.counts else 0

    @property
    def mean_s(self) -> float | None:
        """Seconds; None where there is no duration."""
        return self.sum_s / self.count if self.count else None

    def since(self, before: Histogram) -> Histogram | None:
        """Return what came after `before`; None where that is not of the same server, or has other bounds."""
        if before.bounds_s != self.bounds_s or before.sum_s > self.sum_s:
            return None
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        if any(earlier > later for earlier, later in pairwise((0.0, *counts))):
            return None
        return Histogram(self.bounds_s, counts, self.sum_s - before.sum_s)

    def quantile_s(self, fraction: float) -> float | None:
        """Return the seconds that `fraction`, (0, 1], of the durations do not exceed; None where there is no duration.

        Within a bucket durations are taken to be spread evenly, and what is beyond the last finite bound counts as
        that bound, as in Prometheus' `histogram_quantile`: no better than the bounds are dense.
        """
        if not self.count:
            return None
        rank = fraction * self.counts[-1]
        lower_s, num_below = 0.0, 0.0
        for bound_s, count in zip(self.bounds_s, self.counts, strict=True):
            if count >= rank:
                if math.isinf(bound_s):
                    return lower_s
                return lower_s + (bound_s - lower_s) * (rank - num_below) / (count - num_below)
            lower_s, num_below = bound_s, count
        return lower_s
