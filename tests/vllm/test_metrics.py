"""The metrics of a server, read from texts that vLLM 0.32 answered (`metrics/`, without lines that nobody reads)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm.vllm import metrics as names
from mixvllm.vllm.metrics import WANTED, EngineMetrics, read_metrics

RECORDED = Path(__file__).parent / "metrics"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def without(text: str, *parts: str) -> str:
    return "\n".join(line for line in text.splitlines() if not any(part in line for part in parts))


def test_a_loaded_server_tells_what_it_does() -> None:
    assert read_metrics(recorded("loaded")).record() == {
        "num_requests_running": 16,
        "num_requests_waiting": 4,
        "kv_cache_usage_fraction": 0.0078,
        "num_prompt_tokens_total": 6535,
        "num_generation_tokens_total": 9001,
        "num_iterations_total": 1433,
        "num_preemptions_total": 0,
        "num_finished_total": {"stop": 0, "length": 42, "abort": 0, "error": 0, "repetition": 0},
        "num_prefix_cache_queried_tokens_total": 6535,
        "num_prefix_cache_hit_tokens_total": 0,
        "num_http_requests_total": 46,
        "num_http_errors_total": 0,
        "is_asleep": False,
    }


def test_several_engines_are_added_up_and_are_told_one_by_one() -> None:
    metrics = read_metrics(recorded("data_parallel"))

    assert (metrics.num_requests_running, metrics.num_requests_waiting, metrics.generation_tokens) == (8, 3, 43)
    assert {name: engine.num_requests for name, engine in metrics.engines.items()} == {"0": 5, "1": 6}
    assert metrics.kv_cache_usage == pytest.approx(0.007827788649706457)
    assert metrics.ttft is not None
    assert (metrics.ttft.count, metrics.ttft.sum_s) == (9, pytest.approx(1.6522200107574463 + 1.9897983074188232))


def test_an_answer_of_5xx_is_an_error_and_of_4xx_is_not() -> None:
    text = "\n".join(
        f'http_requests_total{{handler="/v1/completions",method="POST",status="{status}"}} {count}'
        for status, count in (("2xx", 5), ("4xx", 3), ("5xx", 2))
    )

    metrics = read_metrics(text)

    assert (metrics.num_http_requests, metrics.num_http_errors) == (10, 2)


def test_requests_that_were_aborted_or_failed_are_no_successes() -> None:
    counts = {"stop": 7, "length": 3, "abort": 2, "error": 1}
    text = "".join(
        f'vllm:request_success_total{{engine="0",finished_reason="{reason}"}} {count}.0\n'
        for reason, count in counts.items()
    )

    metrics = read_metrics(text)

    assert (metrics.finished, metrics.num_successes, metrics.num_failures) == (counts, 10, 3)


def test_an_engine_that_was_put_to_sleep_says_so() -> None:
    awake = 'vllm:engine_sleep_state{engine="0",model_name="demo",sleep_state="awake"}'

    assert not read_metrics(recorded("idle")).is_asleep
    assert read_metrics(recorded("idle").replace(f"{awake} 1.0", f"{awake} 0.0")).is_asleep


def test_a_server_without_statistics_is_read_as_one_that_tells_nothing() -> None:
    metrics = read_metrics(without(recorded("loaded"), "vllm:"))

    assert (metrics.progress, metrics.num_requests, metrics.num_requests_running, metrics.ttft) == (None, 0, None, None)
    assert metrics.num_http_requests == 46


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_missing_metric_is_no_error_and_leaves_the_others(name: str) -> None:
    metrics = read_metrics(without(recorded("loaded"), f"{name}{{"))

    assert sum(value is None for value in vars(metrics).values()) <= 2
    assert metrics.progress is not None


@given(st.integers(min_value=0, max_value=13_000))
def test_a_text_that_breaks_off_is_read_as_far_as_it_goes(length: int) -> None:
    assert isinstance(read_metrics(recorded("loaded")[:length]), EngineMetrics)


@given(st.lists(st.sampled_from(sorted(WANTED)).flatmap(lambda name: st.text().map(lambda rest: name + rest))))
def test_no_text_is_an_error(lines: list[str]) -> None:
    assert isinstance(read_metrics("\n".join(lines)), EngineMetrics)


def test_a_value_that_is_no_number_is_not_counted() -> None:
    text = 'vllm:prompt_tokens_total{engine="0"} NaN\nvllm:prompt_tokens_total{engine="1"} 3.0\n'

    assert read_metrics(text).prompt_tokens == 3


PROGRESS_LINES = [
    'vllm:prompt_tokens_total{engine="0",model_name="demo"} ',
    'vllm:generation_tokens_total{engine="0",model_name="demo"} ',
    'vllm:iteration_tokens_total_count{engine="0",model_name="demo"} ',
    'vllm:num_preemptions_total{engine="0",model_name="demo"} ',
    'vllm:prefix_cache_queries_total{engine="0",model_name="demo"} ',
    'vllm:kv_cache_usage_perc{engine="0",model_name="demo"} ',
    'vllm:request_success_total{engine="0",finished_reason="stop",model_name="demo"} ',
]


@pytest.mark.parametrize("line", PROGRESS_LINES)
def test_anything_that_the_engine_does_is_progress(line: str) -> None:
    before = recorded("loaded")
    after = before.replace(line, f"{line}9")

    assert after != before
    assert read_metrics(after).progress != read_metrics(before).progress


def test_requests_that_come_or_are_given_up_are_no_progress() -> None:
    before = recorded("loaded")
    after = before.replace(
        'finished_reason="abort",model_name="demo"} 0', 'finished_reason="abort",model_name="demo"} 5'
    )
    after = after.replace('status="2xx"} ', 'status="2xx"} 9')

    assert read_metrics(after).num_http_requests != read_metrics(before).num_http_requests
    assert read_metrics(after).progress == read_metrics(before).progress


def test_one_of_two_engines_that_hangs_is_found_though_the_other_goes_on() -> None:
    before = recorded("data_parallel")
    line = 'vllm:generation_tokens_total{engine="0",model_name="demo"} '
    after = read_metrics(before.replace(line, f"{line}1"))

    assert after.progress != read_metrics(before).progress
    earlier = read_metrics(before).engines
    assert [name for name, engine in after.engines.items() if engine.progress == earlier[name].progress] == ["1"]


def test_the_parser_is_not_imported_before_a_text_is_read() -> None:
    program = "import sys, mixvllm.vllm.metrics, mixvllm.server.sampler; print('prometheus_client' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", program], text=True, cwd=Path.cwd()) == "False\n"


@pytest.mark.engine
def test_the_installed_vllm_has_every_metric_that_is_read() -> None:
    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    source = Path(spec.submodule_search_locations[0], "v1/metrics/loggers.py").read_text(encoding="utf-8")
    ours = [value for name, value in vars(names).items() if name.isupper() and str(value).startswith("vllm:")]

    # A counter is exposed with _total, a histogram with _count, after the name that the source has.
    bare = {name.removesuffix("_count") for name in ours if name.endswith("_count")}
    bare |= {name.removesuffix("_total") for name in ours if not name.endswith("_count")}
    assert [name for name in sorted(bare) if f'"{name}"' not in source] == []
    assert len(bare) >= 15
