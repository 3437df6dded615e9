"""A value for every argument of the release, of its kind and not its default."""

from __future__ import annotations

from typing import Any

from mixvllm.vllm.arguments import Argument
from mixvllm.vllm.check import typed_key
from mixvllm.vllm.release import snapshot

LAUNCHERS_OWN = {
    *("port", "shutdown_timeout", "api_key", "served_model_name", "override_generation_config"),
    *("hf_token", "config", "headless", "grpc", "uds", "node_rank", "master_addr", "master_port"),
}
"""Arguments that the launcher sets itself, or that a watched server cannot have."""

SETTABLE = [
    argument
    for argument in snapshot().arguments.values()
    if not typed_key(argument.name) and argument.name not in LAUNCHERS_OWN
]
"""Arguments that are set by `+section.name=…`."""

_MAPPINGS: dict[str, Any] = {
    "allowed_origins": ["https://example.org"],
    "allowed_methods": ["GET"],
    "allowed_headers": ["x"],
    "default_chat_template_kwargs": {"enable_thinking": False},
    "quantization_config": {"ignore": ["lm_head"]},
    "model_class_overrides": {"LlamaForCausalLM": "a:B"},
    "pooler_config": {"use_activation": False},
    "eplb_config": {"window_size": 500},
    "fault_tolerance_config": {"engine_recovery_timeout_sec": 60},
    "media_io_kwargs": {"video": {"num_frames": 4}},
    "mm_processor_kwargs": {"num_crops": 4},
    "default_mm_loras": {"image": "/a"},
    "custom_histogram_buckets": {"a": [1.0, 2.0]},
    "ir_op_priority": {"rms_norm": ["native"]},
    "kv_transfer_config": {"kv_connector": "ExampleConnector", "kv_role": "kv_both"},
    "kv_events_config": {"enable_kv_cache_events": True},
    "ec_transfer_config": {"ec_connector": "ECExampleConnector", "ec_role": "ec_producer"},
    "attention_config": {"flash_attn_version": 3},
    "kernel_config": {"enable_flashinfer_autotune": False},
    "structured_outputs_config": {"backend": "xgrammar"},
    "profiler_config": {"profiler": "torch", "torch_profiler_dir": "/x"},
    "weight_transfer_config": {"backend": "nccl"},
}


def value_for(argument: Argument) -> Any:
    """Return a value that vLLM's parser takes for `argument`."""
    one = _one(argument)
    return [one, one] if argument.is_list or argument.is_repeated else one


def _one(argument: Argument) -> Any:
    if argument.choices:
        return next(choice for choice in reversed(argument.choices) if choice is not None)
    by_kind: dict[str, Any] = {
        "switch": argument.default is not True,
        "flag": True,
        "int": 7,
        "float": 0.25,
        "human_int": "8k",
        "human_int_or_auto": "8K",
        "json": _MAPPINGS.get(argument.name, {}),
        "json_or_str": {"name": "a", "path": "/x"},
    }
    return by_kind.get(argument.kind, "text")
