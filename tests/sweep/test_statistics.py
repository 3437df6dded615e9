"""What repeats say."""

from __future__ import annotations

import math

import pytest

from mixvllm.sweep.statistics import difference, overlap, summarize, t_quantile


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        (1, 12.7062047362),
        (2, 4.3026527297),
        (3, 3.1824463053),
        (4, 2.7764451052),
        (5, 2.5705818356),
        (6, 2.4469118511),
        (9, 2.2621571628),
        (10, 2.2281388520),
        (29, 2.0452296421),
        (30, 2.0422724563),
        (100, 1.9839715185),
        (1000, 1.9623390808),
    ],
)
def test_the_quantile_is_that_of_published_tables(degrees: int, expected: float) -> None:
    assert t_quantile(degrees) == pytest.approx(expected, abs=5e-10)


def test_a_summary_has_the_known_values_of_a_known_sample() -> None:
    found = summarize([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])

    assert (found.num, found.mean, found.low, found.high) == (8, 5.0, 2.0, 9.0)
    assert found.std == pytest.approx(math.sqrt(32 / 7))
    assert (found.ci95_low, found.ci95_high) == pytest.approx((3.21251, 6.78749), abs=1e-5)
    assert found.spread == pytest.approx(1.4)


def test_a_single_repeat_has_no_interval() -> None:
    found = summarize([3.0])

    assert (found.mean, found.std, found.ci95_low, found.half_width) == (3.0, None, None, None)


def test_equal_repeats_have_an_interval_without_width() -> None:
    assert summarize([3.0, 3.0, 3.0]).half_width == 0.0


def test_a_mean_of_zero_has_no_relative_spread() -> None:
    assert summarize([-1.0, 1.0]).spread is None


@pytest.mark.parametrize(("is_higher_better", "winner"), [(True, "b"), (False, "a")])
def test_intervals_that_do_not_overlap_have_a_winner(is_higher_better: bool, winner: str) -> None:
    found = difference(summarize([10.0, 10.1, 9.9]), summarize([20.0, 20.1, 19.9]), is_higher_better=is_higher_better)

    assert (found.winner, found.ratio, found.reason) == (winner, pytest.approx(0.5), "")


def test_intervals_that_overlap_have_none() -> None:
    found = difference(summarize([10.0, 12.0, 11.0]), summarize([11.0, 13.0, 12.0]), is_higher_better=True)

    assert (found.winner, found.reason) == (None, "no clear winner: the 95 % intervals of the means overlap")


def test_single_repeats_have_no_winner_however_far_apart() -> None:
    found = difference(summarize([1.0]), summarize([100.0]), is_higher_better=True)

    assert (found.winner, found.reason) == (None, "no clear winner: a single repeat has no interval")


def test_intervals_that_only_touch_overlap() -> None:
    assert overlap(summarize([1.0, 1.0]), summarize([1.0, 1.0]))
