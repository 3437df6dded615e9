"""Several repeats as a table, against recorded text. `UPDATE_EXPECTED=1` records it anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mixvllm.workload.measurement import Measurement
from mixvllm.workload.span import sampled
from mixvllm.workload.summary import summarize, summary_lines

EXPECTED = Path(__file__).parent / "expected" / "summary.txt"
GOOD = [
    Measurement(
        repeat,
        repeat,
        "ok",
        metrics={
            "duration_s": 3.2 - 0.1 * repeat,
            "num_completed": 40,
            "std_ttft_ms": 76.3,
            "mean_ttft_ms": 61.6123 + repeat,
            "p99_ttft_ms": 1251.85 + repeat,
            "request_throughput_per_s": 12.52196 + repeat,
            "total_tokens_per_s": 120555.2,
        },
        remarks=("the scheduler preempted 9 requests",),
    )
    for repeat in range(2)
]
BAD = Measurement(2, 2, "invalid", "3 of 4 requests were answered, 1 failed", metrics={"mean_ttft_ms": 0.0})


def test_the_table_reads_as_recorded() -> None:
    text = "\n".join(summary_lines(summarize([*GOOD, BAD]))) + "\n"

    if os.environ.get("UPDATE_EXPECTED"):
        EXPECTED.write_text(text, encoding="utf-8")
    assert text == EXPECTED.read_text(encoding="utf-8")


def test_a_repeat_that_is_not_valid_does_not_count() -> None:
    figures = summarize([*GOOD, BAD])

    assert (figures["num_ok"], figures["num_repeats"], figures["metrics"]["mean_ttft_ms"]["least"]) == (2, 3, 61.6123)


def test_a_single_repeat_has_no_spread() -> None:
    assert summarize(GOOD[:1])["metrics"]["duration_s"]["sd"] is None


def test_no_table_is_shown_where_nothing_is_valid() -> None:
    assert summary_lines(summarize([BAD])) == [
        "0 of 1 repeats are valid",
        "repeat 2 invalid: 3 of 4 requests were answered, 1 failed",
    ]


def test_samples_tell_the_most_and_the_mean() -> None:
    gpus = [
        {"utilization_percent": 50, "memory_used_gib": 10.0},
        {"utilization_percent": None, "memory_used_gib": 12.0},
    ]
    samples: list[dict[str, Any]] = [
        {"engine": {"kv_cache_usage_fraction": 0.25}, "gpus": gpus},
        {"engine": {"kv_cache_usage_fraction": 0.5}, "gpus": [{"utilization_percent": 90, "memory_used_gib": 20.0}]},
        {"answers": False, "gpus": None},
    ]

    assert sampled(samples) == {
        "num_samples": 3,
        "kv_cache_usage_max_fraction": 0.5,
        "gpu_utilization_mean_percent": 70.0,
        "gpu_utilization_max_percent": 90,
        "gpu_memory_mean_gib": 14.0,
        "gpu_memory_max_gib": 20.0,
    }


def test_nothing_sampled_is_nothing_known() -> None:
    assert sampled([]) == {"num_samples": 0}
