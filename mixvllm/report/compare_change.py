"""How one metric changed between two points, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mixvllm.report.metrics import metric_of
from mixvllm.report.study import StudyPoint
from mixvllm.sweep.statistics import t_quantile

BETTER, WORSE, DIFFERS, UNCLEAR = "better", "worse", "differs", "no clear difference"


@dataclass(frozen=True)
class Change:
    """A metric of two points.

    Args:
        metric: its name.
        a: mean of the first one's repeats.
        b: of the second one's.
        num: repeats of both.
        difference: b less a.
        low: lower end of the 95 % confidence interval of the difference; None where a side has a single repeat.
        high: upper end.
        is_paired: whether it is from repeats that had the same requests.
    """

    metric: str
    a: float
    b: float
    num: tuple[int, int]
    difference: float
    low: float | None
    high: float | None
    is_paired: bool

    @property
    def is_clear(self) -> bool:
        """Whether the interval holds no 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `differs` where the name does not tell what is good, or `no clear difference`."""
        if not self.is_clear:
            return UNCLEAR
        is_higher = metric_of(self.metric).is_higher_better
        if is_higher is None:
            return DIFFERS
        return BETTER if (self.difference > 0) is is_higher else WORSE

    def percent(self, value: float | None) -> float | None:
        """Return a difference as a percentage of `a`, whose own spread does not count; None where that is 0."""
        return None if value is None or not self.a else 100 * value / abs(self.a)


def change_of(a: StudyPoint, b: StudyPoint, metric: str) -> Change | None:
    """Return how `metric` changed from `a` to `b`; None where one has no good repeat with it.

    Repeats of the same seed had the same requests: where at least two seeds are on both sides, once each, the interval
    is Student's for the differences of those. Else it is Welch's for the means of all repeats.
    """
    values = a.values(metric), b.values(metric)
    if not all(values):
        return None
    means = statistics.fmean(values[0]), statistics.fmean(values[1])
    num = len(values[0]), len(values[1])
    differences = _by_seed(a, b, metric)
    is_paired = len(differences) >= 2
    difference, low, high = _paired(differences) if is_paired else _welch(*values)
    return Change(metric, *means, num, difference, low, high, is_paired)


def _by_seed(a: StudyPoint, b: StudyPoint, metric: str) -> list[float]:
    """Return the differences between repeats of one seed; none where a seed occurs twice on a side, or is not known."""
    found = []
    for point in (a, b):
        having = [repeat for repeat in point.good if metric in repeat.metrics]
        by_seed = {repeat.seed: repeat.metrics[metric] for repeat in having}
        if None in by_seed or len(by_seed) < len(having):
            return []
        found.append(by_seed)
    if found[0].keys() != found[1].keys():  # means of other repeats than the difference would contradict it
        return []
    return [found[1][seed] - value for seed, value in found[0].items()]


_Interval = tuple[float, float | None, float | None]
"""A difference, and both ends of its interval."""


def _paired(differences: Sequence[float]) -> _Interval:
    mean, num = statistics.fmean(differences), len(differences)
    half = t_quantile(num - 1) * statistics.stdev(differences) / math.sqrt(num)
    return mean, mean - half, mean + half


def _welch(a: Sequence[float], b: Sequence[float]) -> _Interval:
    """Return the difference of the means and its interval.

    Source: Welch, The generalization of Student's problem when several different population variances are involved,
    Biometrika 34 (1947); degrees of freedom by Welch and Satterthwaite.
    """
    difference = statistics.fmean(b) - statistics.fmean(a)
    if min(len(a), len(b)) < 2:
        return difference, None, None
    parts = [(statistics.variance(values) / len(values), len(values) - 1) for values in (a, b)]
    variance = sum(part for part, _ in parts)
    if not variance:
        return difference, difference, difference
    degrees = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = _t_quantile_between(degrees) * math.sqrt(variance)
    return difference, difference - half, difference + half


def _t_quantile_between(degrees: float) -> float:
    """Return `t_quantile` of degrees that are not whole, interpolated over 1 / degrees, as one reads tables of it."""
    low = max(1, math.floor(degrees))
    weight = max(0.0, (1 / low - 1 / degrees) * low * (low + 1))
    return (1 - weight) * t_quantile(low) + weight * t_quantile(low + 1)
