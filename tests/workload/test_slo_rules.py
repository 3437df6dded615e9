"""What `slo` is asked must be possible; faults are found before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mixvllm.config.faults import faults_of
from tests.workload.conftest import configure

TTFT = {"p99_ttft_ms": 200.0}


def faults(**fields: Any) -> list[str]:
    try:
        configure("slo", **fields)
    except ValidationError as error:
        return [fault.path for fault in faults_of(error)]
    return []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "workload.slo_metric_targets"),
        ({"slo_metric_targets": {"p99_tpot_ms": 50.0}}, "workload.slo_metric_targets"),
        ({"slo_metric_targets": {"ttft": 50.0}}, "workload.slo_metric_targets"),
        ({"slo_metric_targets": {"p99_ttft_ms": 0.0}}, "workload.slo_metric_targets.p99_ttft_ms"),
        ({"slo_metric_targets": TTFT, "request_rate": 4.0}, "workload.request_rate"),
        (
            {
                "slo_metric_targets": TTFT,
                "ramp_up_strategy": "linear",
                "ramp_up_start_rps": 1,
                "ramp_up_end_rps": 2,
            },
            "workload.ramp_up_strategy",
        ),
        (
            {"slo_metric_targets": TTFT, "slo_vary": "max_concurrency", "max_concurrency": 4},
            "workload.max_concurrency",
        ),
        ({"slo_metric_targets": TTFT, "slo_min": 9.0, "slo_max": 8.0}, "workload.slo_min"),
        ({"slo_metric_targets": TTFT, "slo_vary": "max_concurrency", "slo_min": 1.5}, "workload.slo_min"),
        ({"slo_metric_targets": TTFT, "dataset_name": "sharegpt"}, "workload.dataset_path"),
        ({"slo_metric_targets": TTFT, "generation": {"max_tokens": 5}}, "generation.max_tokens"),
    ],
)
def test_what_cannot_be_searched_is_refused(fields: dict[str, Any], path: str) -> None:
    assert faults(**fields) == [path]


@pytest.mark.parametrize(
    "fields",
    [
        {"slo_metric_targets": {**TTFT, "p99.9_e2el_ms": 900.0, "mean_tpot_ms": 50.0}, "max_concurrency": 64},
        {"slo_metric_targets": {"p95_tpot_ms": 50.0}, "slo_vary": "max_concurrency", "request_rate": 4.0},
    ],
)
def test_what_can_be_searched_is_accepted(fields: dict[str, Any]) -> None:
    assert faults(**fields) == []
