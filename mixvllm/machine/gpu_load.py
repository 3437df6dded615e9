"""What the GPUs do at this moment, from the driver's library, which may be missing and may never answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mixvllm.machine import GIB
from mixvllm.machine.gpu_driver import ask_each_gpu


@dataclass(frozen=True)
class GpuLoad:
    """One GPU at one moment. What it does not tell, as a part of a GPU (MIG) does not, is None.

    Args:
        id: index in the driver's order.
        utilization_percent: of the driver's last sample period, in which something ran on it, 0 to 100.
        memory_used_gib: GiB, by whomever.
        process_ids: that hold memory of it; a container may not see them.
        name: of its model, e.g. `NVIDIA H100 80GB HBM3`.
    """

    id: int
    utilization_percent: int | None
    memory_used_gib: float | None
    memory_total_gib: float | None
    power_w: float | None
    temperature_c: int | None
    process_ids: frozenset[int] = frozenset()
    name: str | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "id": self.id,
            "name": self.name,
            "utilization_percent": self.utilization_percent,
            "memory_used_gib": self.memory_used_gib,
            "memory_total_gib": self.memory_total_gib,
            "power_w": self.power_w,
            "temperature_c": self.temperature_c,
        }


def used_by(gpus: Collection[GpuLoad], pids: Collection[int]) -> tuple[GpuLoad, ...]:
    """Return the GPUs that hold memory of one of `pids`; all of them where none is known to."""
    ours = tuple(gpu for gpu in gpus if not gpu.process_ids.isdisjoint(pids))
    return ours or tuple(gpus)


def ask_driver() -> tuple[GpuLoad, ...]:
    """Return all GPUs of this machine; none where there is no driver. May take for ever where it is in trouble."""
    return tuple(ask_each_gpu(_ask_gpu) or ())


class GpuReader:
    """Asks for the GPUs in a thread of its own, so that a driver that does not answer holds up nobody.

    The thread is a daemon: one that hangs does not keep the program from its end. No second one is started beside it.

    Args:
        ask: returns all GPUs of this machine.
        timeout_s: that an answer may take.
    """

    def __init__(self, ask: Callable[[], tuple[GpuLoad, ...]] = ask_driver, timeout_s: float = 1.0) -> None:
        self._ask = ask
        self._timeout_s = timeout_s
        self._thread: threading.Thread | None = None
        self._answer: tuple[GpuLoad, ...] | None = None

    def read(self) -> tuple[GpuLoad, ...] | None:
        """Return all GPUs; None where no answer came in time, or the one before is still awaited."""
        if self._thread is not None and self._thread.is_alive():
            return None
        self._answer = None
        self._thread = threading.Thread(target=self._run, name="gpu-reader", daemon=True)
        self._thread.start()
        self._thread.join(self._timeout_s)
        return self._answer

    def _run(self) -> None:
        self._answer = self._ask()


def _ask_gpu(pynvml: Any, index: int, handle: Any) -> GpuLoad:
    def ask(name: str, *arguments: Any) -> Any:
        with suppress(pynvml.NVMLError):
            return getattr(pynvml, name)(handle, *arguments)
        return None

    rates, memory = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetMemoryInfo")
    power_mw = ask("nvmlDeviceGetPowerUsage")
    held = ask("nvmlDeviceGetComputeRunningProcesses") or ()
    return GpuLoad(
        id=index,
        utilization_percent=None if rates is None else int(rates.gpu),
        memory_used_gib=None if memory is None else round(memory.used / GIB, 2),
        memory_total_gib=None if memory is None else round(memory.total / GIB, 2),
        power_w=None if power_mw is None else round(power_mw / 1e3, 1),
        temperature_c=ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        process_ids=frozenset(process.pid for process in held),
        name=ask("nvmlDeviceGetName"),
    )
