"""The KV cache, against published figures and what vLLM computes of the same model."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm.machine.memory import CacheLayout, Parallelism, Unknown, plan_kv_cache
from tests.machine.model_configs import model_config

GIB = 1 << 30

BYTES_PER_TOKEN = {
    "llama_3_1_8b": 131_072,
    "llama_3_3_70b": 327_680,
    "qwen3_8b": 147_456,
    "qwen3_30b_a3b": 98_304,
    "mixtral_8x7b": 131_072,
    "deepseek_v3": 61 * 576 * 2,
    "deepseek_v2_lite": 27 * 576 * 2,
    "gpt_oss_20b": 49_152,
    "gemma_3_27b": 62 * 16 * 256 * 2,
    "phi_4_mini": 131_072,
    "glm_4_5_air": 46 * 8 * 256 * 2,
    "llama_4_scout": 48 * 8 * 256 * 2,
}


def layout(
    name: str, parallelism: Parallelism | None = None, block_size: int = 16, max_in_flight_tokens: int = 0
) -> CacheLayout:
    planned = plan_kv_cache(
        model_config(name),
        parallelism=parallelism,
        block_size=block_size,
        max_in_flight_tokens=max_in_flight_tokens,
    )
    assert isinstance(planned, CacheLayout), planned
    return planned


def bytes_per_token(
    config: dict[str, Any],
    kv_cache_dtype: str | None = None,
    dtype: str | None = None,
    parallelism: Parallelism | None = None,
) -> int:
    planned = plan_kv_cache(config, kv_cache_dtype, dtype, parallelism, block_size=1)
    assert isinstance(planned, CacheLayout), planned
    return planned.page_bytes * max(map(len, planned.stages))


@pytest.mark.parametrize("name", BYTES_PER_TOKEN)
def test_one_token_takes_what_is_published(name: str) -> None:
    assert bytes_per_token(model_config(name)) == BYTES_PER_TOKEN[name]


@pytest.mark.parametrize(
    ("name", "parallelism", "num_bytes"),
    [
        ("llama_3_3_70b", Parallelism(4), 81_920),
        ("llama_3_3_70b", Parallelism(8), 40_960),
        ("llama_3_3_70b", Parallelism(16), 40_960),  # one of the 8 heads on each GPU
        ("qwen3_235b_a22b_fp8", Parallelism(8), 94 * 256 * 2),
        ("deepseek_v3", Parallelism(8), 70_272),  # the latent is whole on every GPU
        ("deepseek_v3", Parallelism(8, 2), 31 * 576 * 2),
        ("qwen3_8b", Parallelism(2, 2), 36_864),
    ],
)
def test_gpus_share_heads_and_layers_but_not_latents(name: str, parallelism: Parallelism, num_bytes: int) -> None:
    assert bytes_per_token(model_config(name), parallelism=parallelism) == num_bytes


@pytest.mark.parametrize(
    ("kv_cache_dtype", "dtype", "num_bytes"),
    [
        (None, None, 131_072),
        ("auto", "float16", 131_072),
        ("auto", "float32", 262_144),
        ("bfloat16", "float32", 131_072),
        ("fp8", None, 65_536),
        ("fp8_e5m2", None, 65_536),
        ("nvfp4", None, 36_864),
    ],
)
def test_numbers_have_the_size_of_their_type(kv_cache_dtype: str | None, dtype: str | None, num_bytes: int) -> None:
    assert bytes_per_token(model_config("llama_3_1_8b"), kv_cache_dtype, dtype) == num_bytes


@pytest.mark.parametrize(
    ("quantization_config", "num_bytes"),
    [
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, 65_536),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, 65_536),
        ({"quant_method": "fp8"}, 131_072),
    ],
)
def test_a_checkpoint_can_ask_for_a_smaller_cache(quantization_config: dict[str, object], num_bytes: int) -> None:
    config = {**model_config("llama_3_1_8b"), "quantization_config": quantization_config}

    assert bytes_per_token(config) == num_bytes


@pytest.mark.parametrize(
    ("name", "kv_cache_dtype", "reason"),
    [("nemotron_3_nano", None, "nemotron_h"), ("llama_3_1_8b", "turboquant_k8v4", "turboquant_k8v4")],
)
def test_what_is_not_known_is_said_with_its_reason(name: str, kv_cache_dtype: str | None, reason: str) -> None:
    planned = plan_kv_cache(model_config(name), kv_cache_dtype)

    assert isinstance(planned, Unknown)
    assert reason in planned.reason


@pytest.mark.parametrize(
    ("name", "parallelism", "room_gib", "max_model_len", "logged"),
    [
        ("llama_3_1_8b", Parallelism(), 56.21, 131_072, 460_496),  # vLLM 0.31, A100 80 GB
        ("llama_3_1_8b", Parallelism(), 19.92, 131_072, 163_168),  # A100 40 GB
        ("qwen3_235b_a22b_fp8", Parallelism(4), 8.11, 40_960, 178_880),  # vLLM issue 21348
    ],
)
def test_the_cache_holds_the_tokens_that_vllm_logs(
    name: str, parallelism: Parallelism, room_gib: float, max_model_len: int, logged: int
) -> None:
    cache = layout(name, parallelism)

    num_tokens = cache.num_tokens(cache.num_blocks((int(room_gib * GIB),)), max_model_len)

    assert num_tokens == pytest.approx(logged, rel=0.015)


@pytest.mark.parametrize(
    ("name", "room", "max_model_len", "recorded"),
    [
        ("gpt_oss_20b", (6 * GIB,), 131_072, (16_384, 253_929)),
        ("gemma_3_27b", (20 * GIB,), 131_072, (16_384, 212_243)),
        ("gemma_3_27b", (20 * GIB, 20 * GIB), 131_072, (32_768, 424_487)),
        ("gemma_3_27b", (20 * GIB,), 8_192, (16_384, 55_052)),
    ],
)
def test_windows_take_what_vllms_own_arithmetic_gives_them(
    name: str, room: tuple[int, ...], max_model_len: int, recorded: tuple[int, int]
) -> None:
    """Recorded from `get_kv_cache_configs` of vLLM 0.32: blocks and tokens, with 4,096 tokens in flight."""
    cache = layout(name, Parallelism(1, len(room)), max_in_flight_tokens=4096)

    num_blocks = cache.num_blocks(room)

    assert (num_blocks, cache.num_tokens(num_blocks, max_model_len)) == recorded


def test_the_longest_sequence_is_the_one_that_vllm_estimates() -> None:
    cache = layout("gpt_oss_20b", max_in_flight_tokens=4096)

    assert cache.longest_sequence(cache.num_blocks((GIB,)), limit=131_072) == 39_424  # recorded from vLLM 0.32


@pytest.mark.parametrize(("num_tokens", "num_blocks"), [(1, 1), (16, 1), (17, 2), (131_072, 8192)])
def test_a_sequence_takes_whole_blocks(num_tokens: int, num_blocks: int) -> None:
    assert layout("llama_3_1_8b").sequence_blocks(num_tokens) == num_blocks


def test_a_window_bounds_what_a_long_sequence_takes() -> None:
    cache = layout("gpt_oss_20b", max_in_flight_tokens=2048)
    full_blocks, window_blocks = 131_072 // 16, (128 - 1 + 2048 + 15) // 16 + 1

    assert cache.sequence_blocks(131_072) == full_blocks + window_blocks


def test_one_block_is_never_given_out() -> None:
    cache = layout("llama_3_1_8b")

    assert (cache.holds(10, 9 * 16), cache.holds(10, 10 * 16), cache.longest_sequence(10, 1000)) == (True, False, 144)


def test_a_cache_without_room_holds_nothing() -> None:
    cache = layout("llama_3_1_8b")

    assert (cache.num_blocks((-GIB,)), cache.longest_sequence(0, 1000)) == (0, 0)


def test_the_stage_with_the_least_room_decides() -> None:
    cache = layout("qwen3_8b", Parallelism(1, 2))

    assert cache.num_blocks((4 * GIB, 2 * GIB)) == 2 * GIB // (18 * 16 * 4096)
