"""The GPUs of this machine, from the driver's library; torch is asked, in its own process, where that is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mixvllm.machine import GIB
from mixvllm.machine.gpu_driver import ask_each_gpu

DEFAULT_UTILIZATION = 0.92
"""Fraction of a GPU that vLLM 0.32 takes where `gpu_memory_utilization` says nothing (`CacheConfig`)."""

_TORCH_TIMEOUT_S = 60.0  # an import of torch and the initialisation of a device

_TORCH_SCRIPT = """
import json, torch
gpus = []
for i in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(i)
    free, total = torch.cuda.mem_get_info(i)
    gpus.append([i, p.name, total, free, p.major, p.minor])
print(json.dumps(gpus))
"""


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of a GPU.

    Args:
        name: of its program; `?` where the system does not tell.
        memory_gib: GiB of that GPU.
        is_orphan: whether it is an engine of this user whose server is gone; nobody will use it again.
    """

    pid: int
    name: str
    memory_gib: float
    is_orphan: bool = False


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Args:
        id: index in the driver's order.
        total_memory_gib: GiB.
        free_memory_gib: GiB, at the time of asking.
        compute_capability: (major, minor).
        uuid: `GPU-…`; empty where only torch was there to ask.
        processes: who holds memory of it, as far as the driver tells.
    """

    id: int
    name: str
    total_memory_gib: float
    free_memory_gib: float
    compute_capability: tuple[int, int]
    uuid: str = ""
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True)
class GpuInfo:
    """All GPUs of this machine, shape (gpu_count,); none where there is no driver."""

    gpus: tuple[Gpu, ...] = ()

    @property
    def gpu_count(self) -> int:
        """Number of GPUs."""
        return len(self.gpus)

    @property
    def cuda_available(self) -> bool:
        """Whether there is a GPU at all."""
        return bool(self.gpus)


def get_gpu_info() -> GpuInfo:
    """Return the GPUs of this machine; an empty `GpuInfo` where there is none. Never raises for want of a GPU."""
    gpus = ask_each_gpu(_ask_gpu)
    return _ask_torch(sys.executable) if gpus is None else GpuInfo(tuple(gpus))


def _ask_gpu(pynvml: Any, index: int, handle: Any) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        id=index,
        name=pynvml.nvmlDeviceGetName(handle),
        total_memory_gib=_gib(memory.total),
        free_memory_gib=_gib(memory.free),
        compute_capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        processes=tuple(_ask_processes(pynvml, handle)),
    )


def _ask_processes(pynvml: Any, handle: Any) -> Iterator[GpuProcess]:
    import psutil

    for held in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        memory_gib = _gib(held.usedGpuMemory or 0)
        try:
            process = psutil.Process(held.pid)
            is_orphan = process.ppid() == 1 and process.uids().real == os.getuid() and process.name().startswith("VLLM")
            yield GpuProcess(held.pid, process.name(), memory_gib, is_orphan)
        except psutil.Error:
            yield GpuProcess(held.pid, "?", memory_gib)


def _ask_torch(python: str) -> GpuInfo:
    """Ask torch in a process of its own: the launcher never imports it."""
    command = [python, "-c", _TORCH_SCRIPT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TORCH_TIMEOUT_S, check=True)
        rows = json.loads(done.stdout)
        return GpuInfo(
            tuple(Gpu(i, name, _gib(total), _gib(free), (major, minor)) for i, name, total, free, major, minor in rows)
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return GpuInfo()


def _gib(num_bytes: int) -> float:
    return round(num_bytes / GIB, 1)
