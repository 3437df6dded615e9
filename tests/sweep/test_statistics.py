"""What repeats say."""

from __future__ import annotations

import math

import pytest

from mixvllm.sweep.statistics import overlap, summarize, t_quantile


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

    assert (found.num, found.mean) == (8, 5.0)
    assert found.std == pytest.approx(math.sqrt(32 / 7))
    assert (found.ci95_low, found.ci95_high) == pytest.approx((3.21251, 6.78749), abs=1e-5)


def test_a_single_repeat_has_no_interval() -> None:
    found = summarize([3.0])

    assert (found.mean, found.std, found.ci95_low, found.half_width) == (3.0, None, None, None)


def test_equal_repeats_have_an_interval_without_width() -> None:
    assert summarize([3.0, 3.0, 3.0]).half_width == 0.0


@pytest.mark.parametrize(
    ("a", "b", "do_overlap"),
    [
        ([10.0, 10.1, 9.9], [20.0, 20.1, 19.9], False),
        ([10.0, 12.0, 11.0], [11.0, 13.0, 12.0], True),
        ([1.0], [100.0], True),
    ],
    ids=["apart", "overlapping", "single repeats, which have no interval"],
)
def test_intervals_overlap_where_they_have_a_value_in_common(a: list[float], b: list[float], do_overlap: bool) -> None:
    assert overlap(summarize(a), summarize(b)) is overlap(summarize(b), summarize(a)) is do_overlap


def test_intervals_that_only_touch_overlap() -> None:
    assert overlap(summarize([1.0, 1.0]), summarize([1.0, 1.0]))
