"""In how many bits numbers are kept: weights in the checkpoint and on the GPU, keys and values in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.machine.memory.parts import Module, Unknown

_DTYPE_BITS = {"float32": 32, "float": 32, "half": 16, "float16": 16, "bfloat16": 16}

_ALL_COMPRESSED: frozenset[Module] = frozenset({"attention", "mlp", "experts"})

_MODULE_NAMES: dict[Module, tuple[str, ...]] = {
    "attention": ("self_attn",),
    "mlp": ("shared_experts", "shared_expert"),
    "experts": ("mlp.experts",),
}
"""What a checkpoint calls the modules in its list of those that are not compressed."""

_ONLINE_BITS = {
    "fp8": 8.0,
    "fp8_per_tensor": 8.0,
    "fp8_per_channel": 8.0,
    "fp8_per_block": 8.0 + 32 / (128 * 128),
    "mxfp8": 8.0 + 8 / 32,
    "int8_per_channel_weight_only": 8.0,
    "nvfp4_per_token": 4.0 + 8 / 16,
}
"""Bits per weight, scales included, of the methods that vLLM applies while it loads.

Source: `QuantizationMethods` in vllm/model_executor/layers/quantization/__init__.py, 0.32.
"""

_CACHE_BITS = {
    **_DTYPE_BITS,
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "int8"), 8),
    **dict.fromkeys(("nvfp4", "nvfp4_4over6"), 4.5),
}
"""Bits per number of the KV cache; 4.5 is 4, and 8 of scale for 16 numbers.

Source: `STR_DTYPE_TO_TORCH_DTYPE` and `nvfp4_kv_cache_full_dim` in vllm/utils/torch_utils.py, 0.32.
"""


@dataclass(frozen=True)
class Storage:
    """Bits of one weight.

    Args:
        plain_bits: of the weights that are not compressed.
        compressed_bits: of those that are, with their scales and zero points.
        compressed: the modules that are.
        method: vLLM's name of the quantization; None = none.
    """

    plain_bits: int
    compressed_bits: float = 0.0
    compressed: frozenset[Module] = frozenset()
    method: str | None = None

    def bits(self, module: Module) -> float:
        """Return the bits of one weight of `module`."""
        return self.compressed_bits if module in self.compressed else self.plain_bits


def checkpoint_storage(config: Mapping[str, Any]) -> Storage | Unknown:
    """Return how the checkpoint stores its weights, or why that is not known."""
    plain_bits = _DTYPE_BITS.get(_checkpoint_dtype(config), 16)
    stated = quantization_config(config)
    if stated is None:
        return Storage(plain_bits)
    method = _method(stated)
    bits = _compressed_bits(method, stated)
    if bits is None:
        return Unknown(f"how {method} stores weights is not known")
    return Storage(plain_bits, bits, _ALL_COMPRESSED - _left_alone(stated), method)


def served_storage(config: Mapping[str, Any], dtype: str | None, quantization: str | None) -> Storage | Unknown:
    """Return how vLLM keeps the weights on the GPU, or why that is not known.

    Args:
        dtype: `inference.dtype`; None = auto.
        quantization: `inference.quantization`; for a checkpoint that is quantized, only its own method is served.
    """
    plain_bits = _DTYPE_BITS[model_dtype(config, dtype)]
    stored = checkpoint_storage(config)
    if isinstance(stored, Unknown):
        return stored
    if stored.method is not None or quantization is None:
        return Storage(plain_bits, stored.compressed_bits, stored.compressed, stored.method)
    bits = _ONLINE_BITS.get(quantization)
    if bits is None:
        return Unknown(f"what {quantization} makes of this checkpoint is not known")
    return Storage(plain_bits, bits, _ALL_COMPRESSED, quantization)


def model_dtype(config: Mapping[str, Any], dtype: str | None) -> str:
    """Return the type of weights and activations; vLLM's `auto` keeps the checkpoint's, but halves float32.

    Source: `_resolve_auto_dtype` in vllm/config/model.py, 0.32, on a GPU with bfloat16.
    """
    if dtype not in (None, "auto"):
        return str(dtype)
    stated = _checkpoint_dtype(config)
    return stated if _DTYPE_BITS.get(stated) == 16 else "bfloat16"


def cache_bits(config: Mapping[str, Any], kv_cache_dtype: str | None, dtype: str | None) -> float | Unknown:
    """Return the bits of one number in the KV cache; `auto` is the checkpoint's scheme, else the model's dtype.

    Source: `resolve_kv_cache_dtype_string` in vllm/utils/torch_utils.py and `Attention` in
    vllm/model_executor/layers/attention/attention.py, 0.32.
    """
    if kv_cache_dtype in (None, "auto"):
        kv_cache_dtype = _checkpoint_cache_dtype(config) or model_dtype(config, dtype)
    bits = _CACHE_BITS.get(str(kv_cache_dtype))
    return Unknown(f"the size of a KV cache of {kv_cache_dtype} is not known") if bits is None else bits


def quantization_config(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what the checkpoint says of its quantization; None = it is not quantized."""
    stated = config.get("quantization_config") or config.get("compression_config")
    if stated is None and config.get("text_config"):
        return quantization_config(config["text_config"])
    return stated


def _checkpoint_dtype(config: Mapping[str, Any]) -> str:
    stated = config.get("dtype") or config.get("torch_dtype")
    if stated is None and config.get("text_config"):
        return _checkpoint_dtype(config["text_config"])
    return str(stated or "bfloat16").removeprefix("torch.")


def _method(stated: Mapping[str, Any]) -> str:
    named = str(stated.get("quant_method", "a nameless method")).replace("_", "-")
    is_modelopt = named.startswith("modelopt") or (stated.get("producer") or {}).get("name") == "modelopt"
    return "modelopt" if is_modelopt else named


def _compressed_bits(method: str, stated: Mapping[str, Any]) -> float | None:
    """Return the bits per compressed weight, scales and zero points included.

    Source: the formats' own documents: 16 bit scale and a zero point per group (AWQ, GPTQ), 8 bit scale per 32
    (OCP Microscaling, MXFP4) or per 16 (NVFP4), 32 bit scale per block (DeepSeek FP8).
    """
    if "config_groups" in stated:
        return _grouped_bits(stated["config_groups"])
    if method in ("awq", "gptq", "auto-round"):
        bits, group_size = stated.get("bits", stated.get("w_bit", 4)), stated.get("group_size", 128)
        return float(bits + (16 + bits) / group_size if group_size > 0 else bits)
    if method == "fp8":
        rows, columns = stated.get("weight_block_size") or (128, 128)
        return 8 + 32 / (rows * columns)
    algorithm = stated.get("quant_algo") if method == "modelopt" else method
    return {"mxfp4": 4 + 8 / 32, "NVFP4": 4 + 8 / 16, "FP8": 8.0}.get(str(algorithm))


def _grouped_bits(groups: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return the bits of `compressed-tensors` weights; None where not all are stored alike."""
    found = {_group_bits(group["weights"]) for group in groups.values() if group.get("weights")}
    return found.pop() if len(found) == 1 else None


def _group_bits(weights: Mapping[str, Any]) -> float:
    bits, group_size = int(weights.get("num_bits", 16)), weights.get("group_size") or 0
    scale_bits = 8 if weights.get("type") == "float" and bits == 4 else 16
    zero_point_bits = 0 if weights.get("symmetric", True) else bits
    return bits + (scale_bits + zero_point_bits) / group_size if group_size > 0 else float(bits)


def _left_alone(stated: Mapping[str, Any]) -> frozenset[Module]:
    """Return the modules that the checkpoint lists as not compressed, in one layer or in all."""
    lists = (stated.get(key) or () for key in ("ignore", "modules_to_not_convert", "exclude_modules"))
    names = [str(name).rstrip("*.") for listed in lists for name in listed]
    return frozenset(module for module, own in _MODULE_NAMES.items() if any(name.endswith(own) for name in names))


def _checkpoint_cache_dtype(config: Mapping[str, Any]) -> str | None:
    stated = quantization_config(config) or {}
    scheme = stated.get("kv_cache_scheme") or stated.get("kv_cache_quant_algo")
    if isinstance(scheme, Mapping):
        return "nvfp4" if scheme.get("num_bits") == 4 else "fp8"
    return {"FP8": "fp8", "NVFP4": "nvfp4"}.get(str(scheme))
