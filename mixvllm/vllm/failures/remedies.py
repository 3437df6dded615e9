"""Overrides that have to be computed: from what a log says, and from what was configured. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from mixvllm.config import keys
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.fields import human_int_value
from mixvllm.vllm.check import EXTRA_SECTIONS, typed_key
from mixvllm.vllm.override_text import write_value
from mixvllm.vllm.release import snapshot

_MARGIN = 0.02  # of a GPU's memory, for what others take between two measurements
_MAX_GPUS = 8  # of one node; more need other changes too
_MAX_UTILIZATION = 0.95
_STEP = 0.05
_GIB = 1 << 30
_MIB = 1 << 20
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # `MaxLoRARanks` in vllm/config/lora.py
_NCCL_SWITCHES = ("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "NCCL_SHM_DISABLE")


def largest_fitting_tensor_parallel(captured: Mapping[str, str], _config: ServeConfig | None) -> str:
    """Return the most GPUs, up to the number that was asked for, that the attention heads divide over."""
    heads, size = int(captured["heads"]), int(captured["size"])
    return _tensor_parallel(max(number for number in range(1, size + 1) if heads % number == 0))


def tensor_parallel_within(captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the most GPUs that are there, and that the attention heads divide over as far as they are known."""
    stages = config.inference.pipeline_parallel_size if config else 1
    heads = config.model.num_attention_heads if config else None
    sizes = range(int(captured["gpus"]) // stages, 0, -1)
    return next((_tensor_parallel(size) for size in sizes if not heads or heads % size == 0), None)


def more_gpus(_captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the next larger number of GPUs that the attention heads divide over; None where a node has no more."""
    size = config.inference.tensor_parallel_size if config else 1
    heads = config.model.num_attention_heads if config else None
    sizes = range(2 * size, _MAX_GPUS + 1, size)
    return next((_tensor_parallel(larger) for larger in sizes if not heads or heads % larger == 0), None)


def fewer_gpus(_captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return half the GPUs; None where there is one."""
    size = config.inference.tensor_parallel_size if config else 1
    return _tensor_parallel(size // 2) if size > 1 else None


def _tensor_parallel(size: int) -> str:
    return f"inference.tensor_parallel_size={size}"


def utilization_of_free(captured: Mapping[str, str], _config: ServeConfig | None) -> str | None:
    """Return the fraction of the memory that is free now, less a margin; None where nearly nothing is."""
    fraction = math.floor((float(captured["free"]) / float(captured["total"]) - _MARGIN) * 100) / 100
    return f"inference.gpu_memory_utilization={fraction}" if fraction >= _STEP else None


def lower_utilization(_captured: Mapping[str, str], config: ServeConfig | None) -> str:
    """Return a twentieth of the GPU less for weights and cache, so that it is there for the rest."""
    return f"inference.gpu_memory_utilization={round(max(_STEP, _utilization(config) - _STEP), 2)}"


def more_cache(captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return more room for the KV cache: of the memory where that is not used up, else over more GPUs."""
    given = config.inference.kv_cache_memory_bytes if config else None
    if given is not None:
        return f"inference.kv_cache_memory_bytes={_size(max(_GIB, 2 * human_int_value(given)))}"
    if _utilization(config) < _MAX_UTILIZATION:
        return f"inference.gpu_memory_utilization={min(_MAX_UTILIZATION, round(_utilization(config) + _STEP, 2))}"
    return more_gpus(captured, config)


def cache_within_memory(captured: Mapping[str, str], _config: ServeConfig | None) -> str | None:
    """Return nine tenths of the host memory that is free, as the size of the KV cache."""
    room = int(float(captured["free"]) * 0.9 * _GIB)
    return f"inference.kv_cache_memory_bytes={_size(room)}" if room >= _MIB else None


def _utilization(config: ServeConfig | None) -> float:
    """Return the fraction of a GPU that vLLM takes, as configured or by its own default."""
    configured = config.inference.gpu_memory_utilization if config else None
    return float(snapshot().arguments["gpu_memory_utilization"].default if configured is None else configured)


def _size(num_bytes: int) -> str:
    """Return a size as vLLM reads it, rounded down to GiB, or to MiB where it is less than one."""
    return f"{num_bytes // _GIB}G" if num_bytes >= _GIB else f"{num_bytes // _MIB}M"


def batch_that_holds_all(captured: Mapping[str, str], config: ServeConfig | None) -> str:
    """Return a number of tokens in one step that no other limit exceeds."""
    needed = int(captured["needed"])
    if config and config.inference.max_num_seqs:
        needed = max(needed, config.inference.max_num_seqs)
    if config and config.inference.enable_chunked_prefill is False:
        length = config.inference.max_model_len
        needed = max(needed, human_int_value(length) if length not in (None, -1, "auto") else 0)
    return f"inference.max_num_batched_tokens={needed}"


def half_the_sequences(captured: Mapping[str, str], _config: ServeConfig | None) -> str:
    """Return half the sequences that the warm-up tried."""
    return f"inference.max_num_seqs={max(1, int(captured['sequences']) // 2)}"


def first_supported_dtype(captured: Mapping[str, str], _config: ServeConfig | None) -> str | None:
    """Return the first type that the quantization method supports."""
    found = re.search(r"torch\.(bfloat16|float16|float32)", captured["dtypes"])
    return f"inference.dtype={found[1]}" if found else None


def lora_rank_above(captured: Mapping[str, str], _config: ServeConfig | None) -> str | None:
    """Return the smallest rank that vLLM makes room for and that holds the adapter's."""
    rank = next((rank for rank in _LORA_RANKS if rank >= int(captured["rank"])), None)
    return f"+inference.max_lora_rank={rank}" if rank else None


def nearest_tool_parser(captured: Mapping[str, str], _config: ServeConfig | None) -> str:
    """Return the parser of tool calls whose name is nearest; where none is near, the way without one."""
    near = keys.nearest(captured["name"], re.findall(r"[\w.-]+", captured["known"]))
    return f"model.tool_call_parser={near}" if near else "model.enable_auto_tool_choice=false"


def nearest_reasoning_parser(captured: Mapping[str, str], _config: ServeConfig | None) -> str:
    """Return the parser of reasoning whose name is nearest; null where none is near."""
    near = keys.nearest(captured["name"], re.findall(r"[\w.-]+", captured["known"]))
    return f"model.reasoning_parser={near or 'null'}"


def mended_argument(captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the key of a refused argument with the nearest value that vLLM takes, or null; None for one of no key."""
    name = captured["flag"].replace("-", "_")
    listed = re.findall(r"'([^']*)'", captured["problem"])
    value = keys.nearest(listed[0], listed[1:]) if len(listed) > 1 else None
    key = typed_key(name)
    if key is not None:
        return f"{key}={write_value(value)}"
    sections = (section for section in EXTRA_SECTIONS if config and name in getattr(config, section).extra_args)
    return next((f"+{section}.{name}={write_value(value)}" for section in sections), None)


def free_port(_captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the setting that finds a free port; None where that was it already, and a new attempt finds another."""
    return None if config and config.server.port == "auto" else "server.port=auto"


def next_nccl_switch(_captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the next way of talking between GPUs to switch off, of those that break most often."""
    tried = config.server.env if config else {}
    return next((f"server.env.{name}=1" for name in _NCCL_SWITCHES if tried.get(name) != "1"), None)


def no_compilation(_captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the setting that compiles nothing; None where that was it already."""
    return None if config and config.inference.enforce_eager else "inference.enforce_eager=true"


def longer_engine_start(captured: Mapping[str, str], _config: ServeConfig | None) -> str:
    """Return the time that engines get to start, doubled, ten minutes at least."""
    return f"server.env.VLLM_ENGINE_READY_TIMEOUT_S={max(600, 2 * int(captured['seconds']))}"


def is_set_already(override: str, config: ServeConfig) -> bool:
    """Whether `config` has the value that `override` sets, so that it would change nothing."""
    key, _, value = override.lstrip("+").partition("=")
    section, _, name = key.partition(".")
    part = getattr(config, section)
    if name.startswith("env."):
        return bool(part.env.get(name.removeprefix("env.")) == value)
    if name in type(part).model_fields:
        return write_value(getattr(part, name)) == value
    return name in part.extra_args and write_value(part.extra_args[name]) == value
