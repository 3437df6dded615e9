"""A number that does not mean what it says is never called valid: each check by itself."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.vllm.rates import Rates
from mixvllm.workload.bench import verdict
from mixvllm.workload.bench.caches import Reset
from mixvllm.workload.bench.expected import expected_of
from mixvllm.workload.bench.metrics import bench_metrics
from mixvllm.workload.bench.verdict import Evidence, invalid_reasons, remarks
from mixvllm.workload.programs import Ended
from mixvllm.workload.span import Moment

GOOD: dict[str, Any] = {
    "num_prompts": 4,
    "completed": 4,
    "failed": 0,
    "duration": 2.0,
    "total_output_tokens": 40,
    "total_input_tokens": 80,
    "output_lens": [10] * 4,
    "input_lens": [20] * 4,
    "errors": [""] * 4,
    "start_times": [101.0, 101.5, 102.0, 102.5],
}
LOAD: dict[str, Any] = {"num_prompts": 4, "input_len": 20, "output_len": 10}


def evidence(
    result: dict[str, Any] | None = None,
    workload: dict[str, Any] | None = None,
    *,
    cpu: tuple[tuple[float, float], ...] = ((101.0, 3.0), (103.0, 3.2)),
    wall_s: float = 5.0,
    hits: float | None = 0.0,
    preemptions: int = 0,
    **fields: Any,
) -> Evidence:
    """Return the evidence of a good repeat, which ran from 98 to 103.5 by the clock, with some of it changed."""
    whole = {**GOOD, **(result or {})}
    return Evidence(
        **{
            "result": whole,
            "expected": expected_of(WorkloadConfig.model_validate({**LOAD, **(workload or {})}), whole),
            "ended": Ended(0, 3.3, 98.0, 103.5, cpu_seen=cpu),
            "began": Moment(98.5, 1000.0, None),
            "finished": Moment(103.5, 1000.0 + wall_s, None),
            "rates": Rates(prefix_cache_hit_fraction=hits, num_preemptions=preemptions),
            "reset": Reset.CONFIRMED,
            **fields,
        }
    )


def test_nothing_speaks_against_a_good_repeat() -> None:
    assert (invalid_reasons(evidence()), remarks(evidence())) == ([], [])


@pytest.mark.parametrize(
    "result",
    [
        {"completed": 3},
        {"completed": 3, "failed": 1},
        {"failed": 1},
        {"completed": 5},
        {"failed": None, "errors": ["x"]},
    ],
)
def test_every_request_must_be_answered(result: dict[str, Any]) -> None:
    assert "requests were answered" in str(verdict.unanswered_requests(evidence(result)))


def test_the_first_error_is_shown() -> None:
    shown = verdict.unanswered_requests(
        evidence({"completed": 3, "failed": 1, "errors": ["", "Traceback\nBad Gateway"]})
    )

    assert shown == "3 of 4 requests were answered, 1 failed; the first error: Bad Gateway"


def test_prompts_that_each_prefix_gets_fewer_of_are_not_missed() -> None:
    load = {"dataset_name": "prefix_repetition", "num_prompts": 25, "input_len": None, "output_len": None}
    known = {"completed": 20, "failed": 0}

    assert verdict.unanswered_requests(evidence(known, load)) is None


@pytest.mark.parametrize(
    ("lengths", "workload", "is_wrong"),
    [
        ([10, 10, 9, 10], {}, True),
        ([10, 10, 11, 10], {}, True),
        ([8, 12, 10, 10], {"random_range_ratio": 0.2}, False),
        ([7, 12, 10, 10], {"random_range_ratio": 0.2}, True),
        ([8, 12, 10, 10], {"random_range_ratio": {"input": 0.5, "output": 0.0}}, True),
        ([1, 2, 3, 4], {"dataset_name": "sharegpt", "dataset_path": "/x"}, False),
        ([1, 2, 3, 4], {"dataset_name": "prefix_repetition", "num_prompts": 10}, False),
        ([1, 2, 3, 4], {"dataset_name": "prefix_repetition", "num_prompts": 10, "ignore_eos": True}, True),
        ([11, 2, 3, 4], {"dataset_name": "prefix_repetition", "num_prompts": 10}, True),
        ([0, 0, 0, 0], {"backend": "openai-embeddings"}, False),
    ],
)
def test_answers_must_have_the_length_asked_for(lengths: list[int], workload: dict[str, Any], is_wrong: bool) -> None:
    assert (verdict.wrong_output_tokens(evidence({"output_lens": lengths}, workload)) is not None) is is_wrong


@pytest.mark.parametrize(
    ("lengths", "workload", "is_wrong"),
    [
        ([20, 21, 22, 21], {}, False),
        ([30, 31, 30, 31], {}, True),
        ([10, 10, 10, 10], {}, True),
        ([50, 50, 50, 50], {"random_prefix_len": 30}, False),
        ([30, 30, 30, 30], {"random_range_ratio": 0.5}, False),
        ([512] * 4, {"dataset_name": "prefix_repetition", "num_prompts": 10}, False),
        ([512] * 4, {"dataset_name": "sharegpt", "dataset_path": "/x"}, False),
        ([512] * 4, {"backend": "openai-chat"}, False),
    ],
)
def test_prompts_must_have_the_length_asked_for(lengths: list[int], workload: dict[str, Any], is_wrong: bool) -> None:
    assert (verdict.wrong_input_tokens(evidence({"input_lens": lengths}, workload)) is not None) is is_wrong


def test_no_token_at_all_is_no_result() -> None:
    assert verdict.no_tokens(evidence({"total_output_tokens": 0})) == "not a single token came of it"


@pytest.mark.parametrize(
    ("fields", "is_wrong"),
    [
        ({"reset": Reset.REFUSED}, True),
        ({"reset": Reset.REFUSED, "caches_prefixes": False}, False),
        ({"reset": Reset.UNAVAILABLE}, False),
        ({"reset": Reset.UNAVAILABLE, "hits": None}, True),
        ({"reset": Reset.UNAVAILABLE, "workload": {"dataset_name": "sharegpt", "dataset_path": "/x"}}, True),
    ],
)
def test_caches_are_known_to_be_empty(fields: dict[str, Any], is_wrong: bool) -> None:
    assert (verdict.caches_not_empty(evidence(**fields)) is not None) is is_wrong


@pytest.mark.parametrize(
    ("hits", "workload", "is_wrong"),
    [
        (0.04, {}, False),
        (0.06, {}, True),
        (0.6, {"random_prefix_len": 30}, False),
        (0.7, {"random_prefix_len": 30}, True),
        (0.5, {"num_warmups": 2}, False),
        (0.6, {"num_warmups": 2}, True),
        (0.9, {"dataset_name": "sharegpt", "dataset_path": "/x"}, False),
        (None, {}, False),
    ],
)
def test_the_prefix_cache_finds_no_more_than_the_prompts_share(
    hits: float | None, workload: dict[str, Any], is_wrong: bool
) -> None:
    assert (verdict.too_many_prefix_hits(evidence(workload=workload, hits=hits)) is not None) is is_wrong


@pytest.mark.parametrize(("reset", "why"), [(Reset.CONFIRMED, "repeat each other"), (Reset.UNAVAILABLE, "not empty")])
def test_a_cache_that_was_emptied_is_not_said_to_have_been_full(reset: Reset, why: str) -> None:
    assert why in str(verdict.too_many_prefix_hits(evidence(hits=0.5, reset=reset)))


@pytest.mark.parametrize(
    ("cpu", "is_wrong", "num_remarks"),
    [
        (((101.0, 3.0), (103.0, 3.2)), False, 0),
        (((101.0, 1.0), (103.0, 2.5)), False, 1),
        (((101.0, 1.0), (103.0, 2.9)), True, 1),
        ((), False, 0),
    ],
)
def test_the_load_generator_waits_for_the_server(
    cpu: tuple[tuple[float, float], ...], is_wrong: bool, num_remarks: int
) -> None:
    found = evidence(cpu=cpu)

    assert (verdict.generator_is_the_limit(found) is not None, len(remarks(found))) == (is_wrong, num_remarks)


@pytest.mark.parametrize(
    ("fields", "is_wrong"),
    [
        ({"wall_s": 5.2}, False),
        ({"wall_s": 5.4}, True),
        ({"wall_s": -3600.0}, True),
        ({"result": {"duration": 5.4}}, False),
        ({"result": {"duration": 6.0}}, True),
    ],
)
def test_the_clocks_agree(fields: dict[str, Any], is_wrong: bool) -> None:
    assert (verdict.clock_was_set(evidence(**fields)) is not None) is is_wrong


def test_a_preemption_storm_is_remarked_and_no_reason_against_it() -> None:
    found = evidence(preemptions=4)

    assert (invalid_reasons(found), len(remarks(found))) == ([], 1)


def test_all_that_is_wrong_is_told() -> None:
    assert len(invalid_reasons(evidence({"completed": 3, "output_lens": [9] * 4}, hits=0.5, wall_s=9.0))) == 4


def test_metrics_carry_their_unit_and_leave_out_what_does_not_apply() -> None:
    found = bench_metrics(
        {
            **GOOD,
            "date": "x",
            "request_rate": "inf",
            "max_concurrency": 4,
            "request_throughput": 2.0,
            "request_goodput": None,
            "output_throughput": 20.0,
            "rtfx": 0.0,
            "p99_ttft_ms": 5.0,
            "spec_decode_acceptance_rate": 61.5,
            "std_tpot_ms": float("nan"),
        }
    )

    assert found == {
        "num_completed": 4,
        "num_failed": 0,
        "duration_s": 2.0,
        "total_output_tokens": 40,
        "total_input_tokens": 80,
        "request_throughput_per_s": 2.0,
        "output_tokens_per_s": 20.0,
        "p99_ttft_ms": 5.0,
        "spec_decode_acceptance_percent": 61.5,
    }
