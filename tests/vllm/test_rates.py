"""What happened between two looks at the metrics; the numbers are worked out by hand from the recorded texts."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm.vllm.histogram import Histogram
from mixvllm.vllm.metrics import EngineMetrics, read_metrics
from mixvllm.vllm.rates import Rates, rates
from tests.vllm.test_metrics import recorded

INF = math.inf


@pytest.fixture
def idle() -> EngineMetrics:
    return read_metrics(recorded("idle"))


@pytest.fixture
def after_load() -> EngineMetrics:
    """After 40 requests more, of 162.5 prompt tokens in the mean and 40 generated ones."""
    return read_metrics(recorded("after_40_requests"))


def test_forty_requests_in_half_a_second(idle: EngineMetrics, after_load: EngineMetrics) -> None:
    found = rates(idle, after_load, 0.5)

    # First tokens: 9 in (20, 40] ms, 8 in (40, 60], 15 in (60, 80], 8 in (100, 250]; 3016.58 ms in all.
    assert found.ttft_p50_ms == pytest.approx(60 + 20 * (20 - 17) / 15)
    assert found.ttft_p95_ms == pytest.approx(100 + 150 * (38 - 32) / 8)
    assert found.ttft_mean_ms == pytest.approx(3016.58 / 40, abs=0.01)
    assert found.itl_mean_ms == pytest.approx(5235.12 / 1560, abs=0.01)
    assert found.queue_mean_ms == pytest.approx(1114.0 / 40, abs=0.01)
    assert (found.prompt_tokens_per_s, found.generation_tokens_per_s) == (6500 / 0.5, 1600 / 0.5)
    assert (found.requests_per_s, found.num_http_requests, found.http_error_fraction) == (80, 40, 0)
    assert (found.num_failures, found.num_preemptions, found.prefix_cache_hit_fraction) == (0, 0, 0)


def test_where_nothing_happened_speeds_are_zero_and_durations_unknown(idle: EngineMetrics) -> None:
    nothing = rates(idle, idle, 5.0)

    assert asdict(nothing) == {
        **dict.fromkeys(asdict(Rates())),
        "prompt_tokens_per_s": 0,
        "generation_tokens_per_s": 0,
        "requests_per_s": 0,
        "num_failures": 0,
        "num_preemptions": 0,
        "num_http_requests": 0,
    }


def test_a_server_that_was_started_anew_has_no_rates_yet(idle: EngineMetrics, after_load: EngineMetrics) -> None:
    assert rates(after_load, idle, 5.0) == Rates()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_has_no_rates(idle: EngineMetrics, after_load: EngineMetrics, seconds: float) -> None:
    assert rates(idle, after_load, seconds) == Rates()


def test_what_one_of_the_two_does_not_tell_is_unknown(idle: EngineMetrics, after_load: EngineMetrics) -> None:
    found = rates(replace(idle, prompt_tokens=None, ttft=None), after_load, 0.5)

    assert (found.prompt_tokens_per_s, found.ttft_mean_ms, found.generation_tokens_per_s) == (None, None, 3200)
    assert rates(EngineMetrics(), EngineMetrics(), 1.0) == Rates()


def test_errors_are_a_share_of_the_answers() -> None:
    before = EngineMetrics(num_http_requests=100, num_http_errors=1, finished={"stop": 90, "error": 0, "abort": 2})
    after = EngineMetrics(num_http_requests=108, num_http_errors=3, finished={"stop": 96, "error": 1, "abort": 4})

    found = rates(before, after, 2.0)

    assert (found.http_error_fraction, found.num_failures, found.requests_per_s) == (0.25, 3, 3.0)


@pytest.mark.parametrize(
    ("counts", "fraction", "seconds"),
    [
        ((4, 4, 4), 0.5, 0.5),  # evenly spread below the first bound
        ((0, 4, 4), 0.5, 1.5),
        ((0, 4, 4), 1.0, 2.0),
        ((1, 2, 4), 0.9, 2.0),  # beyond the last finite bound: that bound
        ((0, 0, 3), 0.5, 2.0),
        ((3, 3, 4), 0.75, 1.0),
        ((0, 0, 0), 0.5, None),
    ],
)
def test_a_quantile_lies_within_its_bucket(counts: tuple[int, ...], fraction: float, seconds: float | None) -> None:
    assert Histogram((1.0, 2.0, INF), counts, 0.0).quantile_s(fraction) == seconds


@given(st.lists(st.floats(0, 3), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_never_in_another_bucket_than_the_duration_of_that_rank(
    durations: list[float], fraction: float
) -> None:
    bounds = (0.5, 1.0, 2.0, INF)
    counts = tuple(float(sum(duration <= bound for duration in durations)) for bound in bounds)
    exact = sorted(durations)[math.ceil(fraction * len(durations)) - 1]
    bucket = next(number for number, bound in enumerate(bounds) if exact <= bound)

    found = Histogram(bounds, counts, sum(durations)).quantile_s(fraction)

    assert found is not None
    lower, upper = (0.0, *bounds)[bucket], bounds[bucket]
    assert lower <= found <= min(upper, 2.0)


def test_histograms_of_two_servers_have_no_difference() -> None:
    one = Histogram((1.0, INF), (2, 3), 4.0)

    assert one.since(Histogram((2.0, INF), (1, 1), 1.0)) is None
    assert one.since(Histogram((1.0, INF), (0, 4), 1.0)) is None
    assert one.since(Histogram((1.0, INF), (1, 2), 5.0)) is None
    assert one.since(Histogram((1.0, INF), (1, 2), 1.5)) == Histogram((1.0, INF), (1, 1), 2.5)
