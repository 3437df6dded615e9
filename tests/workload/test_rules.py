"""Values of a workload that do not go together are refused before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mixvllm.config.faults import faults_of
from mixvllm.config.schema.server import ServerConfig
from mixvllm.config.schema.workload import WorkloadConfig
from tests.workload.conftest import configure


def paths(kind: str = "bench", **fields: Any) -> list[str]:
    try:
        configure(kind, **fields)
    except ValidationError as error:
        return [fault.path for fault in faults_of(error)]
    return []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"dataset_name": "sharegpt"}, "workload.dataset_path"),
        ({"dataset_path": "/data/x.json"}, "workload.dataset_path"),
        ({"input_len": 5, "random_input_len": 6}, "workload.random_input_len"),
        ({"output_len": 5, "sharegpt_output_len": 6}, "workload.sharegpt_output_len"),
        ({"ramp_up_strategy": "linear"}, "workload.ramp_up_strategy"),
        ({"ramp_up_start_rps": 1}, "workload.ramp_up_strategy"),
        (
            {"ramp_up_strategy": "linear", "ramp_up_start_rps": 1, "ramp_up_end_rps": 2, "request_rate": 5.0},
            "workload.request_rate",
        ),
        (
            {"ramp_up_strategy": "linear", "ramp_up_start_rps": 3, "ramp_up_end_rps": 2},
            "workload.ramp_up_start_rps",
        ),
        (
            {"ramp_up_strategy": "exponential", "ramp_up_start_rps": 0, "ramp_up_end_rps": 2},
            "workload.ramp_up_start_rps",
        ),
        ({"dataset_name": "prefix_repetition", "num_prompts": 5}, "workload.num_prompts"),
        ({"generation": {"max_tokens": 5}}, "generation.max_tokens"),
        ({"backend": "vllm-pooling", "generation": {"temperature": 0.5}}, "generation.temperature"),
        ({"kind": "probe", "extra_args": {"lora_modules": ["a"]}}, "workload.lora_modules"),
        ({"kind": "command"}, "workload.command"),
        ({"kind": "guidellm"}, "workload.guidellm.data"),
        ({"kind": "guidellm", "guidellm": {"data": [{}], "backend": {}}}, "workload.guidellm.backend"),
        ({"kind": "lm_eval"}, "workload.lm_eval.tasks"),
        ({"kind": "lm_eval", "lm_eval": {"tasks": "x", "output_path": "/y"}}, "workload.lm_eval.output_path"),
        (
            {"kind": "lm_eval", "lm_eval": {"tasks": "x", "model_args": {"base_url": "y"}}},
            "workload.lm_eval.model_args.base_url",
        ),
        ({"request_rate": 0.0}, "workload.request_rate"),
        ({"random_range_ratio": 1.0}, "workload.random_range_ratio"),
        ({"random_range_ratio": {"input": 0.5}}, "workload.random_range_ratio"),
        ({"goodput": {"latency": 5.0}}, "workload.goodput.latency"),
        ({"percentile_metrics": []}, "workload.percentile_metrics"),
        ({"repeats": 0}, "workload.repeats"),
        ({"kind": "command", "command": []}, "workload.command"),
    ],
)
def test_values_that_do_not_go_together_are_refused(fields: dict[str, Any], path: str) -> None:
    assert [found.partition(".[")[0] for found in paths(**fields)] == [path]


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset_name": "sharegpt", "dataset_path": "/data/x.json", "sharegpt_output_len": 5},
        {"ramp_up_strategy": "exponential", "ramp_up_start_rps": 1, "ramp_up_end_rps": 2, "request_rate": "inf"},
        {"kind": "command", "command": "true", "generation": {"max_tokens": 5}},
        {"kind": "command", "command": ["true"]},
        {"kind": "serve", "input_len": 5, "random_input_len": 6},
    ],
)
def test_values_that_go_together_are_accepted(fields: dict[str, Any]) -> None:
    assert paths(**fields) == []


def test_an_infinite_rate_is_kept_as_the_word_that_json_can_hold() -> None:
    assert WorkloadConfig(request_rate=float("inf")).request_rate == "inf"


@pytest.mark.parametrize(
    ("kind", "host", "expected"),
    [("bench", "127.0.0.1", {"VLLM_SERVER_DEV_MODE": "1"}), ("bench", "0.0.0.0", {}), ("serve", "127.0.0.1", {})],
)
def test_development_routes_are_for_measurements_on_this_machine_alone(
    kind: str, host: str, expected: dict[str, str]
) -> None:
    workload = WorkloadConfig.model_validate({"kind": kind})

    assert workload.server_environment(ServerConfig(host=host)) == expected
