"""Does the model fit: its heads over the GPUs, its weights and KV cache into their memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.machine import GIB
from mixvllm.machine.gpus import Gpu
from mixvllm.machine.memory import (
    Fit,
    GpuMemory,
    ModelFiles,
    Unknown,
    estimate_fit,
    parse_architecture,
    read_model_files,
)
from mixvllm.machine.preflight.check import Check, error, ok, warning


def check_fit(config: ServeConfig, folder: Path | None, gpus: Sequence[Gpu]) -> Iterator[Check]:
    """Yield whether the model fits, from its own config; from what the catalogue says of it where that is not here.

    Args:
        config: validated.
        folder: of the model; None where it is not on this machine.
        gpus: that would serve, shape (n,); none for the CPU build, whose memory is not looked at.
    """
    files = None
    if folder is not None:
        try:
            files = read_model_files(folder)
        except (OSError, ValueError) as problem:
            yield error("model", f"{folder / 'config.json'} cannot be read: {problem}", "fetch the model again")
            return
        yield from _check_heads(config, files)
    if gpus:
        yield _fit_of_files(config, files, gpus) if files is not None else _fit_of_hints(config, gpus)


def _check_heads(config: ServeConfig, files: ModelFiles) -> Iterator[Check]:
    """Source: `verify_with_parallel_config` in vllm/config/model.py: the heads are split over the GPUs evenly."""
    architecture, size = parse_architecture(files.config), config.inference.tensor_parallel_size
    if isinstance(architecture, Unknown) or architecture.num_attention_heads % size == 0:
        return
    heads = architecture.num_attention_heads
    fitting = max(divisor for divisor in range(1, size) if heads % divisor == 0)
    yield error("heads", f"{heads} attention heads over {size} GPUs", f"inference.tensor_parallel_size={fitting}")


def _fit_of_files(config: ServeConfig, files: ModelFiles, gpus: Sequence[Gpu]) -> Check:
    least = min(gpus, key=lambda gpu: gpu.free_memory_gib)
    memory = GpuMemory(round(least.total_memory_gib * GIB), round(least.free_memory_gib * GIB), least.name)
    fit = estimate_fit(files, config.inference, memory)
    mend = ", or ".join(map(str, fit.changes)) or "more or larger GPUs, or a smaller model"
    if fit.verdict == "does_not_fit":
        return error("memory", fit.reason, mend)
    if fit.verdict == "tight":
        return warning("memory", f"tight, as estimated: {fit.reason}", mend)
    if fit.verdict == "unknown":
        return ok("memory", f"not estimated: {fit.reason}")
    return ok("memory", _figures(fit))


def _figures(fit: Fit) -> str:
    weights = f"weights {(fit.weights_bytes or 0) / GIB:.1f} GiB"
    cache = f"KV cache {(fit.kv_cache_bytes or 0) / GIB:.1f} GiB: {fit.num_kv_tokens or 0:,} tokens"
    sequences = f"{fit.num_sequences or 0:.1f} sequences of {fit.max_model_len or 0:,}"
    return f"{weights} and {cache} on each, {sequences}; one of up to {fit.longest_model_len or 0:,} fits (estimated)"


def _fit_of_hints(config: ServeConfig, gpus: Sequence[Gpu]) -> Check:
    """Judge by `model.weights_gib` alone: a lower bound, which says when it is sure to fail."""
    if config.model.weights_gib is None:
        return ok("memory", "not estimated: the model's config is not on this machine")
    shards = config.inference.tensor_parallel_size * config.inference.pipeline_parallel_size
    each, total = config.model.weights_gib / shards, min(gpu.total_memory_gib for gpu in gpus)
    finding = f"weights of about {each:.1f} GiB on each GPU of {total:g} GiB"
    if each > total:
        return error("memory", finding, "a larger inference.tensor_parallel_size, or a quantized model")
    return ok("memory", f"{finding}; the KV cache is estimated once the model is here")
