"""Whether a model fits on GPUs of a given size, and what mends it where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mixvllm.config.schema import InferenceConfig
from mixvllm.machine import GIB
from mixvllm.machine.memory.defaults import GpuMemory
from mixvllm.machine.memory.files import ModelFiles
from mixvllm.machine.memory.parts import Unknown
from mixvllm.machine.memory.plan import Plan, estimate_weights, make_plan

Verdict = Literal["fits", "tight", "does_not_fit", "unknown"]
"""`does_not_fit`: not even without working memory; `tight`: not with the working memory that is assumed."""

_CONTEXT_BYTES = GIB // 2  # what a process has of a GPU before vLLM looks how much is free: 0.41 GiB on an A100

_MAX_TENSOR_PARALLEL_SIZE = 64


@dataclass(frozen=True)
class Change:
    """One value of the configuration that mends it: `str()` reads `inference.max_model_len <= 8192`."""

    key: str
    relation: Literal["<=", ">=", "="]
    value: int | float | str

    def __str__(self) -> str:
        return f"{self.key} {self.relation} {self.value}"


@dataclass(frozen=True)
class Fit:
    """How a model fits; bytes are of the fullest GPU, None is not known.

    Args:
        verdict: whether the server can start, as far as this arithmetic tells.
        reason: why not; empty where it fits.
        changes: each mends it alone; empty where it fits, and where no single one does.
        reserve_bytes: assumed working memory, see `plan.reserve_bytes`.
        kv_cache_bytes: room for the KV cache; 0 = none.
        num_kv_tokens: tokens of sequences of `max_model_len` that fit, as vLLM logs them.
        num_sequences: of `max_model_len` that fit at once.
        max_model_len: asked for, or vLLM's default for the model.
        longest_model_len: the longest sequence that fits alone, up to the model's context.
    """

    verdict: Verdict
    reason: str = ""
    changes: tuple[Change, ...] = ()
    weights_bytes: int | None = None
    reserve_bytes: int | None = None
    kv_cache_bytes: int | None = None
    num_kv_tokens: int | None = None
    num_sequences: float | None = None
    max_model_len: int | None = None
    longest_model_len: int | None = None


def estimate_fit(files: ModelFiles, inference: InferenceConfig, gpu: GpuMemory) -> Fit:
    """Return whether the model fits, and each single change that mends it where it does not. Pure.

    Not counted: draft models of `speculative_config`, LoRA adapters, activations of vision encoders.

    Args:
        files: of the model.
        inference: as configured; null stands for vLLM's default.
        gpu: the smallest of the GPUs that will serve.
    """
    plan = make_plan(files, inference, gpu)
    if isinstance(plan, Unknown):
        weights = estimate_weights(files.with_overrides(inference.hf_overrides), inference)
        return Fit("unknown", plan.reason, weights_bytes=weights.num_bytes)
    verdict, reason = _judge(plan)
    changes = () if verdict == "fits" else tuple(_changes(files, plan))
    return replace(_describe(plan), verdict=verdict, reason=reason, changes=changes)


def _describe(plan: Plan) -> Fit:
    """Return the figures, with the working memory that is assumed."""
    max_model_len = plan.max_model_len or plan.longest
    return Fit(
        "unknown",
        weights_bytes=plan.weights.num_bytes,
        reserve_bytes=plan.reserve,
        kv_cache_bytes=max(0, min(plan.room)),
        num_kv_tokens=plan.layout.num_tokens(plan.num_blocks, max_model_len) if max_model_len else 0,
        num_sequences=plan.layout.num_sequences(plan.num_blocks, max_model_len) if max_model_len else 0.0,
        max_model_len=max_model_len,
        longest_model_len=plan.longest,
    )


def _judge(plan: Plan) -> tuple[Verdict, str]:
    free = plan.gpu.free_bytes
    shortage = _shortage(plan, free) or _shortage(plan, free - _CONTEXT_BYTES)
    if not shortage:
        return "fits", ""
    is_certain = _shortage(replace(plan, reserve=0), free) != ""
    return ("does_not_fit" if is_certain else "tight"), shortage


def _shortage(plan: Plan, free: int) -> str:
    """Return what there is too little of, in the order in which vLLM finds out; empty = there is enough."""
    if free < plan.budget:
        return f"{_gib(plan.budget)} of each GPU are asked for and {_gib(free)} are free"
    if plan.stated_room is not None and plan.needed + plan.stated_room > free:
        return f"weights and KV cache take {_gib(plan.needed + plan.stated_room)} and {_gib(free)} are free"
    if plan.stated_room is None and plan.needed >= plan.budget:
        return f"weights and working memory take {_gib(plan.needed)} of the {_gib(plan.budget)} that may be used"
    least = plan.max_model_len or 1
    if not plan.layout.holds(plan.num_blocks, least):
        return f"the KV cache holds a sequence of {plan.longest} tokens, and one may have {least}"
    return ""


def _changes(files: ModelFiles, plan: Plan) -> Iterator[Change]:
    yield from _other_utilization(files, plan)
    yield from _shorter_sequences(files, plan)
    yield from _smaller_cache(files, plan)
    if plan.inference.kv_cache_dtype in (None, "auto") and _mends(files, plan, "kv_cache_dtype", "fp8"):
        yield Change("inference.kv_cache_dtype", "=", "fp8")
    yield from _more_gpus(files, plan)


def _mends(files: ModelFiles, plan: Plan, key: str, value: object) -> bool:
    changed = make_plan(files, plan.inference.model_copy(update={key: value}), plan.gpu)
    return not isinstance(changed, Unknown) and _judge(changed)[0] == "fits"


def _other_utilization(files: ModelFiles, plan: Plan) -> Iterator[Change]:
    """Yield the least fraction that is enough, or the largest that is free, in hundredths."""
    key = "gpu_memory_utilization"
    most = int(100 * (plan.gpu.free_bytes - _CONTEXT_BYTES) / plan.gpu.total_bytes)
    if plan.utilization > most / 100:
        if most > 0 and _mends(files, plan, key, most / 100):
            yield Change(f"inference.{key}", "<=", most / 100)
        return
    larger = (percent / 100 for percent in range(int(100 * plan.utilization) + 1, most + 1))
    least = next((value for value in larger if _mends(files, plan, key, value)), None)
    if least is not None:
        yield Change(f"inference.{key}", ">=", least)


def _shorter_sequences(files: ModelFiles, plan: Plan) -> Iterator[Change]:
    if 0 < plan.longest < (plan.max_model_len or 0) and _mends(files, plan, "max_model_len", plan.longest):
        yield Change("inference.max_model_len", "<=", plan.longest)


def _smaller_cache(files: ModelFiles, plan: Plan) -> Iterator[Change]:
    most = plan.gpu.free_bytes - _CONTEXT_BYTES - plan.needed
    if 0 < most < (plan.stated_room or 0) and _mends(files, plan, "kv_cache_memory_bytes", most):
        yield Change("inference.kv_cache_memory_bytes", "<=", most)


def _more_gpus(files: ModelFiles, plan: Plan) -> Iterator[Change]:
    """Yield the least larger tensor parallel size that divides the attention heads and is enough."""
    key, heads = "tensor_parallel_size", plan.architecture.num_attention_heads
    larger = range(plan.inference.tensor_parallel_size + 1, _MAX_TENSOR_PARALLEL_SIZE + 1)
    least = next((size for size in larger if heads % size == 0 and _mends(files, plan, key, size)), None)
    if least is not None:
        yield Change(f"inference.{key}", ">=", least)


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
