"""What repeats of a measurement say: mean, spread, the interval that holds the mean, whether two overlap."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """What the repeats of one metric say.

    Args:
        num: repeats.
        mean: arithmetic mean.
        std: of the sample, with num - 1; None of a single repeat.
        ci95_low: lower end of the 95 % confidence interval of the mean; None of a single repeat.
        ci95_high: upper end.
    """

    num: int
    mean: float
    std: float | None
    ci95_low: float | None
    ci95_high: float | None

    @property
    def half_width(self) -> float | None:
        """What is added to the mean, and taken from it, to get the interval; None of a single repeat."""
        return None if self.ci95_high is None else self.ci95_high - self.mean


def summarize(values: Sequence[float]) -> Summary:
    """Return the summary of `values`, shape (n,), n >= 1.

    The interval is Student's: mean +- t(0.975, n - 1) * std / sqrt(n). It supposes that repeats are independent and
    about normal, which few repeats cannot show; with two of them it is wide, as it should be.
    """
    mean = values[0] if min(values) == max(values) else statistics.fmean(values)
    if len(values) < 2:
        return Summary(1, mean, None, None, None)
    # As exact as statistics.stdev to the last digit but one, in a tenth of its time: tables have 100,000 of these.
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = t_quantile(len(values) - 1) * std / math.sqrt(len(values))
    return Summary(len(values), mean, std, mean - half, mean + half)


def overlap(a: Summary, b: Summary) -> bool:
    """Whether the intervals of `a` and `b` have a value in common; a single repeat has none, so it overlaps with all.

    Stricter than a test of the difference: intervals that do not overlap differ at well below 5 %; some that overlap
    do, too, and more repeats show it.
    """
    if a.ci95_low is None or a.ci95_high is None or b.ci95_low is None or b.ci95_high is None:
        return True
    return a.ci95_low <= b.ci95_high and b.ci95_low <= a.ci95_high


@cache
def t_quantile(degrees: int) -> float:
    """Return t for which Student's t with `degrees` >= 1 lies within +-t with a probability of `CONFIDENCE`."""
    low, high = 0.0, 1.0
    while _within(high, degrees) < CONFIDENCE:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < CONFIDENCE else (low, middle)
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """Return the probability that Student's t lies within +-t.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 (odd degrees) and 26.7.4 (even ones),
    which are exact.
    """
    theta = math.atan(t / math.sqrt(degrees))
    cos, term, total = math.cos(theta), 1.0, 1.0
    if degrees % 2 == 0:
        for number in range(1, degrees - 2, 2):
            term *= cos * cos * number / (number + 1)
            total += term
        return math.sin(theta) * total
    if degrees == 1:
        return 2 * theta / math.pi
    for number in range(2, degrees - 2, 2):
        term *= cos * cos * number / (number + 1)
        total += term
    return 2 / math.pi * (theta + math.sin(theta) * cos * total)
