"""Whether a model fits, and what mends it where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm.config.schema import InferenceConfig
from mixvllm.machine.memory import (
    Change,
    Fit,
    GpuMemory,
    ModelFiles,
    context_length,
    default_model_len,
    estimate_fit,
    resolve_batch,
)
from tests.machine.model_configs import model_config

GIB = 1 << 30

A100 = GpuMemory(int(79.25 * GIB), int(79.25 * GIB), "NVIDIA A100-SXM4-80GB")
H100 = GpuMemory(int(79.19 * GIB), int(78.7 * GIB), "NVIDIA H100 80GB HBM3")
RTX_4090 = GpuMemory(int(23.53 * GIB), int(23.1 * GIB), "NVIDIA GeForce RTX 4090")


def fit(name: str, gpu: GpuMemory, **inference: Any) -> Fit:
    return estimate_fit(ModelFiles(model_config(name)), InferenceConfig(**inference), gpu)


def test_a_server_gets_the_cache_that_vllm_logs() -> None:
    """vLLM 0.31 on an A100, everything by default: 15.0 GiB of weights, 56.21 GiB of KV cache, 460,496 tokens."""
    found = fit("llama_3_1_8b", A100)

    assert (found.verdict, found.num_kv_tokens, found.num_sequences, found.longest_model_len) == (
        "fits",
        pytest.approx(460_496, rel=0.005),
        pytest.approx(3.51, abs=0.01),
        131_072,
    )


@pytest.mark.parametrize(
    ("name", "gpu", "inference", "verdict", "changes"),
    [
        ("llama_3_3_70b", H100, {}, "does_not_fit", ["inference.tensor_parallel_size >= 4"]),
        ("llama_3_3_70b", H100, {"tensor_parallel_size": 4}, "fits", []),
        (
            "llama_3_1_8b",
            RTX_4090,
            {},
            "does_not_fit",
            ["inference.max_model_len <= 40688", "inference.tensor_parallel_size >= 2"],
        ),
        ("llama_3_1_8b", RTX_4090, {"max_model_len": 8192}, "fits", []),
        ("llama_3_1_8b", RTX_4090, {"max_model_len": -1}, "fits", []),
        (
            "llama_3_1_8b",
            GpuMemory(80 * GIB, 60 * GIB),
            {},
            "does_not_fit",
            ["inference.gpu_memory_utilization <= 0.74"],
        ),
        ("llama_3_1_8b", GpuMemory(80 * GIB, 5 * GIB), {}, "does_not_fit", []),
        (
            "llama_3_1_8b",
            RTX_4090,
            {"kv_cache_memory_bytes": "10G", "max_model_len": 8192, "max_num_seqs": 16},
            "does_not_fit",
            ["inference.kv_cache_memory_bytes <= 6604179046", "inference.tensor_parallel_size >= 2"],
        ),
    ],
)
def test_a_verdict_names_each_change_that_mends_it(
    name: str, gpu: GpuMemory, inference: dict[str, Any], verdict: str, changes: list[str]
) -> None:
    found = fit(name, gpu, **inference)

    assert (found.verdict, [str(change) for change in found.changes]) == (verdict, changes)
    assert bool(found.reason) is (verdict != "fits")


@pytest.mark.parametrize(
    ("name", "gpu", "inference"),
    [
        ("llama_3_3_70b", H100, {"tensor_parallel_size": 2}),
        ("llama_3_1_8b", RTX_4090, {"gpu_memory_utilization": 0.7, "max_model_len": 8192}),
        ("qwen3_30b_a3b", H100, {"gpu_memory_utilization": 0.75}),
        ("gpt_oss_20b", RTX_4090, {"kv_cache_memory_bytes": "1G"}),
        ("phi_4_mini", GpuMemory(8 * GIB, 8 * GIB), {"max_model_len": "128K"}),
        ("gemma_3_27b", H100, {"max_model_len": "128K", "gpu_memory_utilization": 0.8}),
    ],
)
def test_every_change_that_is_named_mends_it_alone(name: str, gpu: GpuMemory, inference: dict[str, Any]) -> None:
    found = fit(name, gpu, **inference)

    after = [
        fit(name, gpu, **{**inference, change.key.removeprefix("inference."): change.value}).verdict
        for change in found.changes
    ]

    assert found.changes
    assert after == ["fits"] * len(found.changes)


def test_what_fits_only_with_less_working_memory_is_tight() -> None:
    weights = fit("llama_3_1_8b", H100).weights_bytes or 0
    total = int((weights + 1.5 * GIB) / 0.92)

    found = fit("llama_3_1_8b", GpuMemory(total, total), max_model_len=4096)

    assert (found.verdict, "working memory" in found.reason) == ("tight", True)


def test_tensor_parallel_sizes_divide_the_heads() -> None:
    small = GpuMemory(int(4.1 * GIB), int(4.1 * GIB))

    found = fit("phi_4_mini", small, gpu_memory_utilization=0.8)  # 24 heads; 4 GPUs are too few

    assert Change("inference.tensor_parallel_size", ">=", 6) in found.changes


@pytest.mark.parametrize(
    ("name", "inference"),
    [("nemotron_3_nano", {}), ("qwen3_8b", {"quantization": "quark"}), ("qwen3_8b", {"kv_cache_dtype": "fp8_ds_mla"})],
)
def test_without_an_answer_there_is_a_reason(name: str, inference: dict[str, Any]) -> None:
    found = fit(name, H100, **inference)

    assert (found.verdict, bool(found.reason), found.num_kv_tokens) == ("unknown", True, None)


def test_the_weights_of_an_unknown_model_are_told_where_the_checkpoint_tells_them() -> None:
    found = estimate_fit(ModelFiles(model_config("nemotron_3_nano"), 63 * GIB), InferenceConfig(), H100)

    assert (found.verdict, found.weights_bytes) == ("unknown", 63 * GIB)


def test_overrides_of_the_config_count() -> None:
    found = fit("llama_3_1_8b", H100, hf_overrides={"num_hidden_layers": 16})

    assert (found.weights_bytes or 0) < 10 * GIB


def test_offloaded_weights_are_not_on_the_gpu() -> None:
    whole, offloaded = (fit("llama_3_1_8b", H100, cpu_offload_gb=size).weights_bytes or 0 for size in (None, 4))

    assert whole - offloaded == 4 * GIB


def test_eager_servers_keep_the_memory_of_cuda_graphs() -> None:
    graphs, eager = (fit("llama_3_1_8b", A100, enforce_eager=is_eager).reserve_bytes or 0 for is_eager in (False, True))

    assert graphs - eager == 0.75 * GIB


@pytest.mark.parametrize(
    ("gpu", "inference", "expected"),
    [
        (H100, {}, (8192, 1024, 2)),
        (A100, {}, (2048, 256, 2)),
        (GpuMemory(180 * GIB, 180 * GIB), {}, (16384, 1024, 2)),
        (H100, {"max_num_seqs": 4, "async_scheduling": False, "pipeline_parallel_size": 2}, (8192, 4, 2)),
        (A100, {"enable_chunked_prefill": False}, (4096, 256, 2)),
        (A100, {"max_num_batched_tokens": "1K", "max_num_seqs": 2048}, (1024, 1024, 2)),
    ],
)
def test_a_batch_is_as_large_as_vllm_makes_it(
    gpu: GpuMemory, inference: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    batch = resolve_batch(InferenceConfig(**inference), gpu, max_model_len=4096)

    assert (batch.num_tokens, batch.num_seqs, batch.num_in_flight) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (model_config("llama_3_1_8b"), (131_072, 131_072)),
        (model_config("phi_4_mini"), (4096, 131_072)),  # LongRoPE: what vLLM takes is the length before scaling
        (model_config("gemma_3_27b"), (131_072, 131_072)),
        (model_config("deepseek_v3"), (163_840, 163_840)),  # YaRN: scaled already
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, (16_384, 16_384)),
        ({}, (None, None)),
    ],
)
def test_the_context_is_what_vllm_derives(config: dict[str, Any], expected: tuple[int | None, int | None]) -> None:
    assert (default_model_len(config), context_length(config)) == expected
