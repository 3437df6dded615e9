"""A model's architecture, from its `config.json` alone: its weights by kind, and what a token leaves in the KV cache.

Counts are of parameters. They are those of the models that transformers 5.19 builds from the same configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.machine.memory.families import FAMILIES, Family
from mixvllm.machine.memory.parts import Part, TokenState, Unknown

_NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class Architecture:
    """A model.

    Args:
        layers: weights of each layer, shape (num_hidden_layers,).
        windows: tokens that each layer looks back, same shape; None = all of them.
        embedding: the input embedding; with tied embeddings the output projection too.
        head: the output projection; empty with tied embeddings.
        draft: multi-token prediction layers: in the checkpoint, loaded for speculative decoding only.
        vision: the vision encoder; None = there is one and its size is not known.
        state: the same in every layer.
        mlp_width: intermediate values per token in the widest layer.
    """

    layers: tuple[tuple[Part, ...], ...]
    windows: tuple[int | None, ...]
    embedding: Part
    head: tuple[Part, ...]
    norm: Part
    draft: tuple[Part, ...]
    vision: tuple[Part, ...] | None
    state: TokenState
    hidden_size: int
    vocab_size: int
    num_attention_heads: int
    num_kv_heads: int
    mlp_width: int
    expert_width: int
    num_experts: int
    num_experts_per_tok: int


def parse_architecture(config: Mapping[str, Any]) -> Architecture | Unknown:
    """Return the architecture that a `config.json` describes, or why it is not known."""
    text = config.get("text_config") or config
    family = FAMILIES.get(text.get("model_type", ""))
    if family is None:
        return Unknown(f"model type {text.get('model_type')!r} is not among those whose sizes are known")
    values = {**family.defaults, **_stated(config, "tie_word_embeddings"), **_stated(text, *text)}
    missing = [key for key in _NEEDED if key not in values]
    if missing:
        return Unknown(f"config.json has no {', '.join(missing)}")
    try:
        return _build(values, family, config.get("vision_config"))
    except (KeyError, TypeError) as error:
        return Unknown(f"config.json is not as {text['model_type']} has it: {error}")


def _stated(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: config[key] for key in keys if config.get(key) is not None}


def _build(values: dict[str, Any], family: Family, vision: Mapping[str, Any] | None) -> Architecture:
    hidden_size, vocab_size = values["hidden_size"], values["vocab_size"]
    layers = tuple(_layer(values, family, index) for index in range(values["num_hidden_layers"]))
    embedding = Part("embedding", vocab_size * hidden_size)
    return Architecture(
        layers=layers,
        windows=_windows(values, family),
        embedding=embedding,
        head=() if values.get("tie_word_embeddings") else (embedding,),
        norm=Part("other", hidden_size, "everywhere"),
        draft=_draft(values, layers[-1], embedding),
        vision=_vision(vision),
        state=_token_state(values),
        hidden_size=hidden_size,
        vocab_size=vocab_size,
        num_attention_heads=values["num_attention_heads"],
        num_kv_heads=_num_kv_heads(values),
        mlp_width=_mlp_width(values),
        expert_width=_expert_width(values),
        num_experts=_num_experts(values),
        num_experts_per_tok=_num_experts_per_tok(values),
    )


def _layer(values: dict[str, Any], family: Family, index: int) -> tuple[Part, ...]:
    attention = _latent_attention(values) if "kv_lora_rank" in values else _attention(values, family)
    mlp = _mixture(values) if _has_experts(values, index) else _mlp(values, _dense_width(values))
    norms = Part("other", family.num_norms * values["hidden_size"], "everywhere")
    return (*attention, *mlp, norms)


def _attention(values: dict[str, Any], family: Family) -> list[Part]:
    hidden_size, head_dim = values["hidden_size"], _head_dim(values)
    num_query, num_kv = values["num_attention_heads"] * head_dim, _num_kv_heads(values) * head_dim
    parts = [
        Part("attention", 2 * hidden_size * num_query),
        Part("attention", 2 * hidden_size * num_kv, "kv_heads"),
    ]
    if family.has_qkv_bias or values.get("attention_bias"):
        parts += [Part("other", num_query), Part("other", 2 * num_kv, "kv_heads")]
    if family.has_output_bias and values.get("attention_bias"):
        parts.append(Part("other", hidden_size, "everywhere"))
    if values["model_type"] == "gpt_oss":
        parts.append(Part("other", values["num_attention_heads"]))  # attention sinks
    has_head_norms = values.get("use_qk_norm") if family.has_head_norms is None else family.has_head_norms
    return [*parts, Part("other", 2 * head_dim, "everywhere")] if has_head_norms else parts


def _latent_attention(values: dict[str, Any]) -> list[Part]:
    """Return the weights of multi-head latent attention; what makes the latents is whole on every GPU.

    Source: `DeepseekV2MLAAttention` in vllm/model_executor/models/deepseek_v2.py, 0.32.
    """
    hidden_size, num_heads = values["hidden_size"], values["num_attention_heads"]
    kv_rank, query_rank = values["kv_lora_rank"], values.get("q_lora_rank")
    plain, rotary, value = values["qk_nope_head_dim"], values["qk_rope_head_dim"], values["v_head_dim"]
    query_input = query_rank or hidden_size
    divided = query_input * num_heads * (plain + rotary) + kv_rank * num_heads * (plain + value)
    copied = hidden_size * (kv_rank + rotary) + hidden_size * (query_rank or 0)
    return [
        Part("attention", divided + num_heads * value * hidden_size),
        Part("attention", copied, "everywhere"),
        Part("other", kv_rank + (query_rank or 0), "everywhere"),
    ]


def _mlp(values: dict[str, Any], width: int) -> list[Part]:
    biases = [Part("other", 2 * width + values["hidden_size"])] if values.get("mlp_bias") else []
    return [Part("mlp", 3 * values["hidden_size"] * width), *biases]


def _mixture(values: dict[str, Any]) -> list[Part]:
    """Return the weights of a layer's experts, of those that every token uses, and of the router."""
    hidden_size, width, num_experts = values["hidden_size"], _expert_width(values), _num_experts(values)
    parts = [
        Part("experts", num_experts * 3 * hidden_size * width, "experts"),
        Part("other", num_experts * hidden_size, "everywhere"),
    ]
    shared_width = _shared_width(values)
    if shared_width:
        parts.append(Part("mlp", 3 * hidden_size * shared_width))
    if values.get("shared_expert_intermediate_size"):
        parts.append(Part("other", hidden_size, "everywhere"))  # the gate of the shared expert
    if values["model_type"] == "gpt_oss":
        parts.append(Part("other", num_experts * (2 * width + hidden_size + 1), "experts"))  # biases
    return parts


def _has_experts(values: dict[str, Any], index: int) -> bool:
    """Say whether layer `index` is a mixture: each family has its own keys for it."""
    if _num_experts(values) == 0:
        return False
    if "moe_layers" in values:
        return index in values["moe_layers"]
    if index < values.get("first_k_dense_replace", 0) or index in values.get("mlp_only_layers", ()):
        return False
    step = values.get("decoder_sparse_step") or values.get("interleave_moe_layer_step") or 1
    return (index + 1) % step == 0 and index % values.get("moe_layer_freq", 1) == 0


def _num_experts(values: dict[str, Any]) -> int:
    keys = ("num_local_experts", "num_experts", "n_routed_experts")
    return next((int(values[key]) for key in keys if key in values), 0)


def _num_experts_per_tok(values: dict[str, Any]) -> int:
    return int(values.get("num_experts_per_tok", 0))


def _expert_width(values: dict[str, Any]) -> int:
    return int(values.get("moe_intermediate_size") or values["intermediate_size"])


def _shared_width(values: dict[str, Any]) -> int:
    if values["model_type"] == "llama4_text":
        return int(values["intermediate_size"])
    return int(
        values.get("shared_expert_intermediate_size") or values.get("n_shared_experts", 0) * _expert_width(values)
    )


def _dense_width(values: dict[str, Any]) -> int:
    return int(values.get("intermediate_size_mlp") or values["intermediate_size"])


def _mlp_width(values: dict[str, Any]) -> int:
    mixed = [index for index in range(values["num_hidden_layers"]) if _has_experts(values, index)]
    widths = [_num_experts_per_tok(values) * _expert_width(values) + _shared_width(values)] if mixed else []
    if len(mixed) < values["num_hidden_layers"]:
        widths.append(_dense_width(values))
    return max(widths)


def _num_kv_heads(values: dict[str, Any]) -> int:
    return int(values.get("num_key_value_heads") or values["num_attention_heads"])


def _head_dim(values: dict[str, Any]) -> int:
    return int(values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"])


def _token_state(values: dict[str, Any]) -> TokenState:
    """Return what a token leaves in one layer: a key and a value per KV head, or one latent for all heads.

    Source: `get_head_size` in vllm/transformers_utils/model_arch_config_convertor.py, and `AttentionSpec` and
    `MLAAttentionSpec` in vllm/v1/kv_cache_interface.py, 0.32.
    """
    if "kv_lora_rank" in values:
        return TokenState(1, values["kv_lora_rank"] + values["qk_rope_head_dim"])
    return TokenState(_num_kv_heads(values), 2 * _head_dim(values))


def _windows(values: dict[str, Any], family: Family) -> tuple[int | None, ...]:
    """Return how far each layer looks back, tokens.

    Source: `create_engine_config` in vllm/engine/arg_utils.py and the model classes, 0.32.
    """
    num_layers, window = int(values["num_hidden_layers"]), int(values.get("sliding_window", 0))
    if window == 0 or values.get("use_sliding_window") is False:
        return (None,) * num_layers
    if "layer_types" in values:
        return tuple(window if kind == "sliding_attention" else None for kind in values["layer_types"][:num_layers])
    every = values.get("sliding_window_pattern") or family.full_attention_every
    return tuple(None if every and (index + 1) % every == 0 else window for index in range(num_layers))


def _draft(values: dict[str, Any], last_layer: tuple[Part, ...], embedding: Part) -> tuple[Part, ...]:
    """Return the multi-token prediction layers: each a layer, a projection of two inputs, embedding and head.

    Source: DeepSeek-V3 technical report (arXiv:2412.19437), section 2.2, and the names in its checkpoint.
    """
    num_layers = int(values.get("num_nextn_predict_layers", 0))
    projection = Part("mlp", 2 * values["hidden_size"] ** 2)
    return (*last_layer, projection, embedding, embedding) * num_layers


def _vision(config: Mapping[str, Any] | None) -> tuple[Part, ...] | None:
    """Return the vision encoder, without what joins it to the text model; vLLM divides it like the text model.

    Source: the SigLIP, Llama 4 and Pixtral models of transformers 5.19: attention, two or three matrices per
    MLP, patches and positions.
    """
    if config is None:
        return ()
    num_matrices = {"siglip_vision_model": 2, "llama4_vision_model": 2, "pixtral": 3}.get(config.get("model_type", ""))
    if num_matrices is None:
        return None
    hidden_size, patch_size = config["hidden_size"], config["patch_size"]
    per_layer = 4 * hidden_size**2 + num_matrices * hidden_size * config["intermediate_size"]
    patches = (3 * patch_size**2 + (config["image_size"] // patch_size) ** 2) * hidden_size
    return (Part("other", config["num_hidden_layers"] * per_layer + patches),)
