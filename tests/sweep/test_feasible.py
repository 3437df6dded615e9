"""Only what is sure to need more memory than a server that failed for it is left out."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm.sweep.feasible import MEMORY_FAILURES, needs_more
from mixvllm.vllm.failures.catalogue import CATALOGUE

TOO_LONG = "max-model-len-exceeds-kv-cache"
WEIGHTS = "weights-exceed-gpu-memory"
GRAPHS = "cuda-graphs-exceed-gpu-memory"
HOST = "kv-cache-exceeds-host-memory"

FAILED: dict[str, Any] = {
    "max_model_len": 4096,
    "max_num_seqs": 64,
    "tensor_parallel_size": 2,
    "gpu_memory_utilization": 0.5,
    "kv_cache_memory_bytes": "1G",
    "dtype": "auto",
}


def config(**inference: Any) -> dict[str, Any]:
    return {"model": {"name": "a"}, "inference": {**FAILED, **inference}, "server": {}, "workload": {"seed": 1}}


@pytest.mark.parametrize(
    ("failure_id", "changed", "is_more"),
    [
        (TOO_LONG, {"max_model_len": 8192}, True),
        (TOO_LONG, {"max_model_len": "8K"}, True),
        (TOO_LONG, {"max_model_len": 8192, "max_num_seqs": 128}, True),
        (TOO_LONG, {"max_model_len": 8192, "max_num_seqs": 32}, False),
        (TOO_LONG, {"max_model_len": 2048}, False),
        (TOO_LONG, {"max_model_len": -1}, False),
        (TOO_LONG, {"max_model_len": None}, False),
        (TOO_LONG, {"max_model_len": 8192, "dtype": "half"}, False),
        (TOO_LONG, {}, False),
        (TOO_LONG, {"gpu_memory_utilization": 0.4}, True),
        (TOO_LONG, {"gpu_memory_utilization": 0.9}, False),
        (TOO_LONG, {"kv_cache_memory_bytes": "512M"}, True),
        (TOO_LONG, {"kv_cache_memory_bytes": "2G"}, False),
        (GRAPHS, {"gpu_memory_utilization": 0.9}, True),
        (GRAPHS, {"gpu_memory_utilization": 0.4}, False),
        (WEIGHTS, {"tensor_parallel_size": 1}, True),
        (WEIGHTS, {"tensor_parallel_size": 4}, False),
        (WEIGHTS, {"gpu_memory_utilization": 0.9}, False),
        (HOST, {"kv_cache_memory_bytes": "2G"}, True),
        (HOST, {"tensor_parallel_size": 1}, False),
        ("gpu-memory-in-use", {"max_model_len": 8192}, False),
        ("bad-flag", {"max_model_len": 8192}, False),
    ],
)
def test_a_server_is_infeasible_where_it_differs_only_in_needing_more(
    failure_id: str, changed: dict[str, Any], is_more: bool
) -> None:
    assert needs_more(config(**changed), config(), failure_id) is is_more


def test_another_model_is_never_infeasible() -> None:
    other = {**config(max_model_len=8192), "model": {"name": "b"}}

    assert not needs_more(other, config(), TOO_LONG)


def test_memory_failures_are_those_that_the_configuration_mends() -> None:
    kinds = {failure.kind for failure in CATALOGUE if failure.id in MEMORY_FAILURES}

    assert {TOO_LONG, WEIGHTS, GRAPHS, HOST} <= MEMORY_FAILURES
    assert kinds == {"config"}
