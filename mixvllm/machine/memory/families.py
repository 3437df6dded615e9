"""The families of models whose sizes are known, and what their `config.json` leaves unsaid.

Source: the model classes in vllm/model_executor/models, 0.32; defaults from the config classes of transformers 5.19.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Family:
    """What the code of a model type fixes and `config.json` leaves out.

    Args:
        defaults: values where the config has none.
        num_norms: norms over hidden_size per layer.
        has_head_norms: whether queries and keys have norms with weights; None = `use_qk_norm` says.
        has_qkv_bias: whether queries, keys and values have biases; else `attention_bias` says.
        has_output_bias: whether `attention_bias` is meant for the attention's output too.
        full_attention_every: every n-th layer looks back without bound; 0 = `sliding_window` is for all layers.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    num_norms: int = 2
    has_head_norms: bool | None = False
    has_qkv_bias: bool = False
    has_output_bias: bool = True
    full_attention_every: int = 0


_GEMMA = {"vocab_size": 256000, "head_dim": 256, "tie_word_embeddings": True}
_GEMMA3 = {
    **_GEMMA,
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "max_position_embeddings": 131072,
}
_WINDOW_IF_USED = {"use_sliding_window": False}

FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family({"num_key_value_heads": 8, "sliding_window": 4096}),
    "granite": Family(),
    "phi3": Family(),
    "qwen2": Family(_WINDOW_IF_USED, has_qkv_bias=True),
    "qwen3": Family({**_WINDOW_IF_USED, "head_dim": 128}, has_head_norms=True),
    "qwen3_vl_text": Family({"head_dim": 128}, has_head_norms=True),
    "gemma": Family(_GEMMA),
    "gemma2": Family({**_GEMMA, "sliding_window": 4096}, num_norms=4, full_attention_every=2),
    "gemma3_text": Family(_GEMMA3, num_norms=4, has_head_norms=True, full_attention_every=6),
    "mixtral": Family({"num_key_value_heads": 8}),
    "qwen2_moe": Family(_WINDOW_IF_USED, has_qkv_bias=True),
    "qwen3_moe": Family(_WINDOW_IF_USED, has_head_norms=True),
    "qwen3_vl_moe_text": Family(_WINDOW_IF_USED, has_head_norms=True),
    "deepseek_v2": Family(),
    "deepseek_v3": Family(),
    "kimi_k2": Family(),
    "glm4_moe": Family(has_head_norms=None, has_output_bias=False),
    "gpt_oss": Family({"attention_bias": True}, full_attention_every=2),
    # vLLM 0.32 gives chunked attention layers a cache for all tokens (vllm/config/vllm.py): no window here.
    "llama4_text": Family({"head_dim": 128, "num_key_value_heads": 8}),
}
