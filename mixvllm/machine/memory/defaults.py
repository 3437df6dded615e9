"""What vLLM takes where the configuration says nothing, as far as memory depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.config.schema import InferenceConfig
from mixvllm.config.schema.fields import human_int_value
from mixvllm.machine import GIB
from mixvllm.machine.memory.families import FAMILIES

_ROPE_WITHOUT_FACTOR = ("longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
"""Kinds of rotary embedding whose scaling is in max_position_embeddings already."""


@dataclass(frozen=True)
class GpuMemory:
    """The memory of one GPU; all GPUs of a server are taken to be alike.

    Args:
        total_bytes: as CUDA counts; the driver counts up to 1 % more.
        free_bytes: now, before the server starts.
        name: the product's name; vLLM's defaults depend on it.
    """

    total_bytes: int
    free_bytes: int
    name: str = ""


@dataclass(frozen=True)
class Batch:
    """What one step of the scheduler takes at the most.

    Args:
        num_tokens: `max_num_batched_tokens`.
        num_seqs: `max_num_seqs`.
        num_in_flight: steps that may be under way at once.
    """

    num_tokens: int
    num_seqs: int
    num_in_flight: int


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return the longest context that the model declares, tokens; None = not known.

    Source: `_get_and_verify_max_len` in vllm/config/model.py, 0.32; the tokenizer's limit is not looked at.
    """
    text = _text_values(config)
    scaling, declared = _rope_scaling(text), text.get("max_position_embeddings")
    factor = scaling.get("factor")
    is_scaled = factor and _rope_type(scaling) not in _ROPE_WITHOUT_FACTOR and text.get("model_type") != "gemma3_text"
    return int(declared * (factor if is_scaled else 1)) if declared else None


def default_model_len(config: Mapping[str, Any]) -> int | None:
    """Return the `max_model_len` that vLLM takes where none is asked for, tokens; None = not known.

    With LongRoPE it is the length before scaling, else the whole context.

    Source: `_get_and_verify_max_len` in vllm/config/model.py, 0.32.
    """
    text = _text_values(config)
    unscaled = text.get("original_max_position_embeddings")
    return int(unscaled) if unscaled and _rope_type(_rope_scaling(text)) == "longrope" else context_length(config)


def _text_values(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text: Mapping[str, Any] = config.get("text_config") or config
    family = FAMILIES.get(text.get("model_type", ""))
    return {**family.defaults, **text} if family else text


def _rope_scaling(text: Mapping[str, Any]) -> Mapping[str, Any]:
    return text.get("rope_scaling") or text.get("rope_parameters") or {}


def _rope_type(scaling: Mapping[str, Any]) -> str | None:
    kind = scaling.get("rope_type") or scaling.get("type")
    return "longrope" if kind == "su" else kind  # its first name


def resolve_batch(inference: InferenceConfig, gpu: GpuMemory, max_model_len: int) -> Batch:
    """Return the batch of a server.

    Source: `_set_default_max_num_seqs_and_batched_tokens_args` in vllm/engine/arg_utils.py, and
    `max_concurrent_batches` in vllm/config/vllm.py, 0.32.
    """
    default_tokens, default_seqs = _default_batch(gpu)
    num_seqs = inference.max_num_seqs or default_seqs
    if inference.max_num_batched_tokens is not None:
        num_tokens = human_int_value(inference.max_num_batched_tokens)
    else:
        least = max_model_len if inference.enable_chunked_prefill is False else 0
        num_tokens = min(num_seqs * max_model_len, max(default_tokens, least))
    num_in_flight = inference.pipeline_parallel_size + (inference.async_scheduling is not False)
    return Batch(num_tokens, min(num_seqs, num_tokens), num_in_flight)


def _default_batch(gpu: GpuMemory) -> tuple[int, int]:
    """Return (max_num_batched_tokens, max_num_seqs) of a server on such a GPU.

    Source: `get_batch_defaults` in vllm/engine/arg_utils.py, 0.32.
    """
    if gpu.total_bytes >= 160 * GIB:
        return 16384, 1024
    if gpu.total_bytes >= 70 * GIB and "a100" not in gpu.name.lower():
        return 8192, 1024
    return 2048, 256
