"""The highest load within latency targets: on a server that is simulated, and on one of the fake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.errors import ServerDied
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.repeat import measure_repeat
from mixvllm.workload.slo import LevelSearch, MeasureLevel, workload_at
from mixvllm.workload.task import RepeatTask
from tests.workload.conftest import MakeGenerator, Serve, configure, never

TARGETS = {"p99_ttft_ms": 100.0, "p99_tpot_ms": 50.0}


def slo(**fields: Any) -> WorkloadConfig:
    return configure("slo", slo_metric_targets=TARGETS, **fields).workload


def at(capacity: float, changes: Callable[[float], dict[str, Any]] = lambda _level: {}) -> MeasureLevel:
    """Return a server whose latencies reach their targets at `capacity`; `changes` are made to what is measured."""

    def measure(workload: WorkloadConfig, step: int) -> Measurement:
        level = workload.request_rate if workload.max_concurrency is None else workload.max_concurrency
        assert isinstance(level, (int, float))
        load = level / capacity
        metrics = {"p99_ttft_ms": 100 * load, "p99_tpot_ms": 50 * load, "request_throughput_per_s": level}
        fields: dict[str, Any] = {"verdict": "ok", "metrics": metrics, "began_at": f"step {step}", **changes(level)}
        return Measurement(step, workload.seed + step, **fields)

    return measure


def search(tmp_path: Path, workload: WorkloadConfig, measure: MeasureLevel, repeat: int = 0) -> Measurement:
    return LevelSearch(workload, repeat, tmp_path / "steps.json", measure).run()


def test_the_highest_rate_comes_with_what_was_measured_at_it(tmp_path: Path) -> None:
    found = search(tmp_path, slo(slo_precision=0.1), at(100))

    assert (found.verdict, found.reason, found.began_at) == ("ok", None, "step 0")
    assert found.metrics == {
        "p99_ttft_ms": 96.0,
        "p99_tpot_ms": 48.0,
        "request_throughput_per_s": 96.0,
        "slo_request_rate_per_s": 96.0,
        "num_slo_steps": 12,
    }
    assert found.remarks == ("request_rate=104 misses: p99_ttft_ms is 104, above 100; p99_tpot_ms is 52, above 50",)


def test_a_concurrency_is_an_integer(tmp_path: Path) -> None:
    workload = slo(slo_vary="max_concurrency", slo_max=64.0)
    levels: list[object] = []

    def measure(one: WorkloadConfig, step: int) -> Measurement:
        levels.append(one.max_concurrency)
        return at(13)(one, step)

    found = search(tmp_path, workload, measure)

    assert (found.metrics["slo_max_concurrency"], levels) == (13, [1, 2, 4, 8, 16, 12, 14, 13, 13])
    assert all(type(level) is int for level in levels)


def test_every_step_is_recorded_with_the_targets_that_it_missed(tmp_path: Path) -> None:
    search(tmp_path, slo(slo_max=4.0, slo_precision=1.0), at(2.5))

    steps = json.loads((tmp_path / "steps.json").read_text())
    assert [(step["level"], len(step["misses"])) for step in steps] == [(1.0, 0), (2.0, 0), (4.0, 2), (2.0, 0)]


def test_no_step_has_the_requests_of_another_one_or_another_repeat(tmp_path: Path) -> None:
    seeds: list[int] = []

    def measure(one: WorkloadConfig, step: int) -> Measurement:
        found = at(50)(one, step)
        seeds.append(found.seed)
        return found

    measured = [search(tmp_path, slo(seed=7), measure, repeat) for repeat in (0, 1)]

    assert (len(seeds), [one.seed for one in measured]) == (len(set(seeds)), [7, 1007])


def test_a_server_that_misses_at_the_lowest_level_is_invalid_with_what_it_missed(tmp_path: Path) -> None:
    found = search(tmp_path, slo(), at(0.5))

    words = "request_rate=1, the lowest level (workload.slo_min), misses: p99_ttft_ms is 200, above 100"
    assert (found.verdict, str(found.reason).partition(";")[0]) == ("invalid", words)
    assert "slo_request_rate_per_s" not in found.metrics


def test_a_server_that_misses_nothing_may_take_more(tmp_path: Path) -> None:
    found = search(tmp_path, slo(slo_max=6.0), at(100))

    words = "no target was missed up to workload.slo_max=6: the server may take more"
    assert (found.metrics["slo_request_rate_per_s"], found.remarks) == (6.0, (words,))


def test_a_level_without_valid_numbers_is_missed(tmp_path: Path) -> None:
    def lose(level: float) -> dict[str, Any]:
        return {"verdict": "invalid", "reason": "3 of 5 requests were answered"} if level > 3 else {}

    found = search(tmp_path, slo(slo_precision=1.0), at(100, lose))

    words = "request_rate=4 misses: the measurement is not valid: 3 of 5 requests were answered"
    assert (found.metrics["slo_request_rate_per_s"], found.remarks) == (2.0, (words,))


def test_a_server_that_dies_ends_the_search(tmp_path: Path) -> None:
    def die(level: float) -> dict[str, Any]:
        failure = {"verdict": "failed", "reason": "killed", "metrics": {}, "error": ServerDied("killed")}
        return failure if level > 3 else {}

    found = search(tmp_path, slo(), at(100, die), repeat=2)

    assert (found.verdict, found.reason, found.repeat) == ("failed", "request_rate=4: killed", 2)
    assert (type(found.error), found.metrics) == (ServerDied, {})


def test_a_latency_that_the_load_does_not_have_is_named(tmp_path: Path) -> None:
    found = search(tmp_path, slo(), at(100, lambda _level: {"metrics": {"p99_ttft_ms": 1.0}}))

    words = "request_rate=1: this load has no p99_tpot_ms: choose others for workload.slo_metric_targets"
    assert (found.verdict, found.reason) == ("failed", words)


def test_a_search_that_takes_too_long_has_failed(tmp_path: Path) -> None:
    late = {"verdict": "failed", "reason": "late", "metrics": {}}

    found = search(tmp_path, slo(timeout_s=1e-9), at(100, lambda _level: late))

    words = "request_rate=1: the search is not done in workload.timeout_s=1e-09"
    assert (found.verdict, found.reason) == ("failed", words)


@pytest.mark.parametrize(
    ("fields", "level", "num_prompts"),
    [
        ({}, 1.0, 100),
        ({}, 12.5, 375),
        ({"slo_prompts_per_unit": 10, "slo_min_prompts": 20}, 1.5, 20),
        ({"num_prompts": 5}, 64.0, 5),
        ({"slo_vary": "max_concurrency", "slo_prompts_per_unit": 8}, 32.0, 256),
    ],
)
def test_a_step_has_requests_enough_for_its_percentiles(fields: dict[str, Any], level: float, num_prompts: int) -> None:
    assert workload_at(slo(**fields), level, 0, None).num_prompts == num_prompts


def test_a_step_measures_what_the_targets_name() -> None:
    workload = slo(percentile_metrics=["ttft"], metric_percentiles=[50.0])

    one = workload_at(workload, 2.0, 0, 9.0)

    assert (one.kind, one.timeout_s, one.request_rate) == ("bench", 9.0, 2.0)
    assert (one.percentile_metrics, one.metric_percentiles) == (["ttft", "tpot"], [50.0, 99.0])


def test_a_live_server_is_searched_by_vllms_load_generator(
    serve: Serve, make_generator: MakeGenerator, tmp_path: Path
) -> None:
    config = configure(
        "slo",
        slo_metric_targets={"p99_ttft_ms": 100.0},
        slo_precision=0.2,
        num_prompts=2,
        input_len=3,
        output_len=2,
    )

    found = measure_repeat(RepeatTask(config, serve(), make_generator(capacity=5), tmp_path, 0, never))

    assert (found.verdict, found.reason) == ("ok", None)
    assert (found.metrics["slo_request_rate_per_s"], found.metrics["p99_ttft_ms"]) == (5.0, 100.0)
    steps = json.loads((tmp_path / "slo-0" / "steps.json").read_text())
    assert [step["level"] for step in steps] == [1.0, 2.0, 4.0, 8.0, 6.0, 5.0, 5.0]
    assert {step["metrics"]["num_completed"] for step in steps} == {2.0}
    assert (tmp_path / "slo-0" / "bench-6.json").is_file()
