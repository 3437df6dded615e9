"""Whether the memory of the GPUs came back after a server, from the driver alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.machine import GIB
from mixvllm.machine.gpu_driver import ask_each_gpu

_SLACK_GIB = 0.3  # the driver's own use moves by this much


@dataclass(frozen=True)
class GpuUse:
    """What a GPU is used for at one moment.

    Args:
        used_gib: GiB of its memory in use.
        num_processes: that hold some of it, as far as the driver tells.
    """

    used_gib: float
    num_processes: int


def gpu_use() -> dict[int, GpuUse]:
    """Return the use of each GPU by its index; empty where there is no driver to ask."""
    return dict(enumerate(ask_each_gpu(_ask_gpu) or ()))


def not_given_back(before: Mapping[int, GpuUse], now: Mapping[int, GpuUse]) -> dict[int, float]:
    """Return the GiB by which GPUs that nobody uses are fuller now than `before`, by index.

    One that another process uses tells nothing: its memory may be that one's.
    """
    idle = {index: use.used_gib for index, use in now.items() if use.num_processes == 0 and index in before}
    more = {index: used_gib - before[index].used_gib for index, used_gib in idle.items()}
    return {index: round(gib, 1) for index, gib in more.items() if gib > _SLACK_GIB}


def _ask_gpu(pynvml: Any, _index: int, handle: Any) -> GpuUse:
    held = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    return GpuUse(pynvml.nvmlDeviceGetMemoryInfo(handle).used / GIB, len(held))
