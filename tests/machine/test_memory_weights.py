"""Parameters and weights, against what the models' publishers and vLLM's logs state."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm.machine.memory import ModelFiles, Parallelism, num_parameters, parse_architecture, weights_bytes_per_gpu
from mixvllm.machine.memory.parallel import split_layers
from tests.machine.model_configs import model_config

GIB = 1 << 30

PUBLISHED_TOTAL = {  # billions, from the model cards
    "llama_3_1_8b": 8.03,
    "llama_3_3_70b": 70.6,
    "qwen3_8b": 8.19,
    "qwen3_30b_a3b": 30.5,
    "qwen3_235b_a22b_fp8": 235,
    "qwen2_5_7b_awq": 7.61,
    "mixtral_8x7b": 46.7,
    "deepseek_v2_lite": 15.7,
    "deepseek_v3": 671,
    "gpt_oss_20b": 20.9,
    "gemma_3_27b": 27.4,
    "phi_4_mini": 3.84,
    "glm_4_5_air": 106,
    "llama_4_scout": 109,
}

PUBLISHED_ACTIVE = {  # billions, embeddings counted
    "qwen3_30b_a3b": 3.3,
    "qwen3_235b_a22b_fp8": 22,
    "mixtral_8x7b": 12.9,
    "deepseek_v3": 37,
    "llama_4_scout": 17,
}


def weights_gib(
    config: dict[str, Any],
    total_size: int | None = None,
    quantization: str | None = None,
    dtype: str | None = None,
    parallelism: Parallelism | None = None,
) -> float:
    estimate = weights_bytes_per_gpu(ModelFiles(config, total_size), dtype, quantization, parallelism)
    assert estimate.num_bytes is not None, estimate.basis
    return estimate.num_bytes / GIB


def parameters(name: str) -> tuple[int, int]:
    count = num_parameters(model_config(name))
    assert count.total is not None, count.reason
    assert count.active is not None
    return count.total, count.active


@pytest.mark.parametrize("name", PUBLISHED_TOTAL)
def test_all_parameters_are_those_of_the_model_card(name: str) -> None:
    assert parameters(name)[0] / 1e9 == pytest.approx(PUBLISHED_TOTAL[name], rel=0.01)


@pytest.mark.parametrize("name", PUBLISHED_ACTIVE)
def test_active_parameters_are_those_of_the_model_card(name: str) -> None:
    assert parameters(name)[1] / 1e9 == pytest.approx(PUBLISHED_ACTIVE[name], rel=0.02)


def test_gpt_oss_states_its_active_parameters_without_the_input_embedding() -> None:
    embedding = 201088 * 2880

    assert (parameters("gpt_oss_20b")[1] - embedding) / 1e9 == pytest.approx(3.61, rel=0.01)


def test_multi_token_prediction_is_in_the_checkpoint_and_not_in_the_model() -> None:
    architecture = parse_architecture(model_config("deepseek_v3"))

    draft = sum(part.num_parameters for part in getattr(architecture, "draft", ()))

    assert (draft + parameters("deepseek_v3")[0]) / 1e9 == pytest.approx(685, rel=0.01)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (model_config("nemotron_3_nano"), "nemotron_h"),
        ({"model_type": "llama", "hidden_size": 8}, "config.json has no intermediate_size, num_hidden_layers"),
        ({**model_config("deepseek_v3"), "v_head_dim": None}, "v_head_dim"),
        ({**model_config("gemma_3_27b"), "vision_config": {"model_type": "new"}}, "vision encoder"),
        ({}, "model type None"),
    ],
)
def test_what_is_not_known_is_said_with_its_reason(config: dict[str, Any], reason: str) -> None:
    count = num_parameters(config)

    assert (count.total, count.active, reason in count.reason) == (None, None, True)


@pytest.mark.parametrize(
    ("name", "logged_gib"),
    [("llama_3_1_8b", 14.99), ("gpt_oss_20b", 13.72), ("qwen2_5_7b_awq", 5.2)],
)
def test_weights_on_one_gpu_are_as_vllm_logs_them(name: str, logged_gib: float) -> None:
    assert weights_gib(model_config(name)) == pytest.approx(logged_gib, rel=0.01)


@pytest.mark.parametrize(
    ("name", "total_size"),
    [("gpt_oss_20b", 13_761_264_768), ("llama_3_1_8b", 16_060_522_496), ("llama_3_3_70b", 141_107_412_992)],
)
def test_counting_agrees_with_the_published_index(name: str, total_size: int) -> None:
    config = model_config(name)

    assert weights_gib(config) == pytest.approx(weights_gib(config, total_size), rel=0.001)


@pytest.mark.parametrize(
    ("changes", "bytes_per_weight"),
    [
        ({"quantization": "fp8"}, 1.0),
        ({"quantization": "int8_per_channel_weight_only"}, 1.0),
        ({"dtype": "float32"}, 4.0),
        ({"dtype": "float16"}, 2.0),
    ],
)
def test_linear_layers_are_compressed_and_embeddings_are_not(changes: dict[str, str], bytes_per_weight: float) -> None:
    embeddings = 2 * 128256 * 4096
    linear = 8_030_261_248 - embeddings
    plain = 4.0 if changes.get("dtype") == "float32" else 2.0

    assert weights_gib(model_config("llama_3_1_8b"), **changes) * GIB == pytest.approx(
        linear * bytes_per_weight + embeddings * plain, rel=0.001
    )


@pytest.mark.parametrize(
    ("stated", "bits"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, 8 + 24 / 32),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, 4),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8 + 32 / 16384),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128, "symmetric": True}}},
            },
            4 + 16 / 128,
        ),
    ],
)
def test_a_quantized_checkpoint_takes_its_bits_and_its_scales(stated: dict[str, Any], bits: float) -> None:
    config = model_config("qwen3_8b")
    embeddings, norms = 2 * 151936 * 4096, 36 * (2 * 4096 + 2 * 128) + 4096
    linear = 8_190_735_360 - embeddings - norms

    got = weights_gib({**config, "quantization_config": stated}) * GIB

    assert got == pytest.approx(linear * bits / 8 + (embeddings + norms) * 2, rel=1e-6)


def test_modules_that_a_checkpoint_leaves_alone_stay_whole() -> None:
    stated = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.*.self_attn"]}
    config = model_config("qwen3_8b")

    all_compressed = weights_gib({**config, "quantization_config": {"quant_method": "fp8"}})
    attention_whole = weights_gib({**config, "quantization_config": stated})

    assert attention_whole - all_compressed == pytest.approx(36 * 41_943_040 / GIB, rel=0.001)


def test_an_unknown_quantization_is_not_guessed_without_the_checkpoints_size() -> None:
    config = {**model_config("qwen3_8b"), "quantization_config": {"quant_method": "quark"}}

    without, with_size = weights_bytes_per_gpu(ModelFiles(config)), weights_bytes_per_gpu(ModelFiles(config, 6 << 30))

    assert (without.num_bytes, without.basis) == (None, "how quark stores weights is not known")
    assert with_size.num_bytes == pytest.approx(6 << 30, rel=0.001)


def test_an_unknown_model_is_divided_evenly_where_its_size_is_known() -> None:
    files = ModelFiles(model_config("nemotron_3_nano"), total_size=64 * GIB)

    estimate = weights_bytes_per_gpu(files, parallelism=Parallelism(2, 2))

    assert (estimate.by_stage, "divided evenly" in estimate.basis) == ((16 * GIB, 16 * GIB), True)


def test_the_checkpoints_draft_layers_are_not_counted_as_loaded() -> None:
    config = model_config("deepseek_v3")

    assert weights_gib(config, total_size=688_500_000_000) == pytest.approx(weights_gib(config), rel=0.01)


def test_each_gpu_of_a_tensor_parallel_server_has_whole_norms_and_at_least_one_kv_head() -> None:
    config = model_config("llama_3_3_70b")
    kv_projections, norms = 80 * 2 * 8192 * 1024, 161 * 8192

    got = weights_gib(config, parallelism=Parallelism(16)) * GIB

    expected = 2 * ((70_553_706_496 - kv_projections - norms) / 16 + kv_projections / 8 + norms)
    assert got == pytest.approx(expected, rel=1e-6)


def test_experts_are_divided_over_data_parallel_gpus_too() -> None:
    config = model_config("qwen3_30b_a3b")
    experts = 48 * 128 * 3 * 2048 * 768

    one, two = (weights_gib(config, parallelism=Parallelism(1, 1, size, True)) for size in (1, 2))

    assert one - two == pytest.approx(experts / 2 * 2 / GIB, rel=1e-6)


def test_expert_parallel_gpus_hold_whole_experts() -> None:
    config = model_config("mixtral_8x7b")
    expert = 32 * 3 * 4096 * 14336

    divided, whole = (weights_gib(config, parallelism=Parallelism(3, 1, 1, is_ep)) for is_ep in (False, True))

    assert whole - divided == pytest.approx((3 - 8 / 3) * expert * 2 / GIB, rel=1e-6)


def test_the_fullest_pipeline_stage_counts() -> None:
    estimate = weights_bytes_per_gpu(ModelFiles(model_config("qwen3_8b")), parallelism=Parallelism(1, 2))

    embedding, layer = 2 * 151936 * 4096, 2 * 192_946_432
    assert estimate.by_stage == (18 * layer + embedding, 18 * layer + embedding + 2 * 4096)


def test_a_tied_embedding_is_on_the_first_and_the_last_stage() -> None:
    one = weights_bytes_per_gpu(ModelFiles(model_config("phi_4_mini")))
    two = weights_bytes_per_gpu(ModelFiles(model_config("phi_4_mini")), parallelism=Parallelism(1, 2))

    assert sum(two.by_stage) - sum(one.by_stage) == 2 * 200064 * 3072


@pytest.mark.parametrize(
    ("num_layers", "num_stages", "sizes"),
    [(80, 4, [20] * 4), (61, 2, [31, 30]), (62, 4, [15, 16, 16, 15]), (47, 4, [12, 12, 12, 11]), (3, 1, [3])],
)
def test_layers_left_over_go_before_the_last_stage(num_layers: int, num_stages: int, sizes: list[int]) -> None:
    stages = split_layers(num_layers, num_stages)

    assert ([len(stage) for stage in stages], stages[-1].stop) == (sizes, num_layers)
