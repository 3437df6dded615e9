"""Which servers need at least as much memory as one that failed for it, so that they need not be tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mixvllm.config.schema.fields import human_int_value, is_human_int
from mixvllm.sweep.flat import leaves
from mixvllm.vllm.failures.catalogue.memory import FAILURES

Way = Literal["larger", "smaller"]

MEMORY_FAILURES = frozenset(failure.id for failure in FAILURES if failure.kind == "config")
"""Diagnoses that say that what was asked for is too much for this machine, whoever else is on it."""

_OF_HOST = frozenset(["kv-cache-exceeds-host-memory"])
_CACHE_TOO_SMALL = frozenset(
    [
        "no-memory-for-kv-cache",
        "max-model-len-exceeds-kv-cache",
        "no-sequence-fits-kv-cache",
        "max-num-seqs-exceeds-mamba-blocks",
    ]
)
_CACHE_TOO_LARGE = frozenset(
    ["kv-cache-exceeds-host-memory", "cuda-graphs-exceed-gpu-memory", "warm-up-exceeds-gpu-memory"]
)

_LONGER: Mapping[str, Way] = {
    "inference.max_model_len": "larger",
    "inference.max_num_seqs": "larger",
    "inference.max_num_batched_tokens": "larger",
}
_LESS_SPREAD: Mapping[str, Way] = {
    "inference.tensor_parallel_size": "smaller",
    "inference.pipeline_parallel_size": "smaller",
    "inference.cpu_offload_gb": "smaller",
}
_CACHE = ("inference.gpu_memory_utilization", "inference.kv_cache_memory_bytes")


def needs_more(config: Mapping[str, Any], failed: Mapping[str, Any], failure_id: str) -> bool:
    """Whether the server of `config` must fail as that of `failed` did: it differs, and only in needing more memory.

    Args:
        config: of a point, as its file has it.
        failed: of a point whose server did not start.
        failure_id: the diagnosis.
    """
    if failure_id not in MEMORY_FAILURES:
        return False
    ours, theirs, ways = _of_server(config), _of_server(failed), _ways(failure_id)
    different = [key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)]
    return bool(different) and all(_is_more(ours.get(key), theirs.get(key), ways.get(key)) for key in different)


def _ways(failure_id: str) -> dict[str, Way]:
    """Return the keys of which one way of changing them makes the failure worse, and never mends it."""
    ways = dict(_LONGER)
    if failure_id not in _OF_HOST:
        ways |= _LESS_SPREAD
    if failure_id in _CACHE_TOO_SMALL:
        ways |= dict.fromkeys(_CACHE, "smaller")
    if failure_id in _CACHE_TOO_LARGE:
        ways |= dict.fromkeys(_CACHE, "larger")
    return ways


def _is_more(value: Any, failed: Any, way: Way | None) -> bool:
    ours, theirs = _number(value), _number(failed)
    if way is None or ours is None or theirs is None:
        return False  # a default that is vLLM's may be any
    return ours > theirs if way == "larger" else ours < theirs


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return human_int_value(value) if is_human_int(value) else None
    is_amount = isinstance(value, int | float) and value >= 0  # -1 = whatever fits
    return value if is_amount else None


def _of_server(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what reaches the server, by dotted key."""
    return dict(leaves({section: config.get(section) or {} for section in ("model", "inference", "server")}))
