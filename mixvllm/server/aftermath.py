"""What is left when a server has been stopped: processes, its port, memory of GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

from mixvllm.machine.gpu_memory import GpuUse, gpu_use, not_given_back
from mixvllm.machine.ports import is_listening
from mixvllm.server.limits import StopLimits
from mixvllm.server.processes import ProcessId, describe

_TICK_S = 0.1


class GpuBaseline:
    """The use of the GPUs before a server used them; asked in the background, since a driver may take its time.

    Args:
        background: where it is asked.
        is_needed: whether the server uses GPUs at all.
    """

    def __init__(self, background: Executor, *, is_needed: bool) -> None:
        self._before: Future[dict[int, GpuUse]] | None = background.submit(gpu_use) if is_needed else None

    def not_given_back(self, timeout_s: float) -> dict[int, float]:
        """Return the GiB that did not come back in `timeout_s`, by GPU; drivers give memory back late."""
        if self._before is None or not self._before.done() or self._before.cancelled():
            return {}
        before = self._before.result()
        if not before or not _lasts(lambda: bool(not_given_back(before, gpu_use())), timeout_s):
            return {}
        return not_given_back(before, gpu_use())


def what_is_left(processes: Sequence[ProcessId], port: int | None, gpus: GpuBaseline, limits: StopLimits) -> str | None:
    """Return in words what did not go, None where everything did.

    Args:
        processes: that would not end.
        port: that the server listened on; None where it never did, and what listens is another's.
        gpus: as they were before.
        limits: how long port and GPUs get.
    """
    if processes:
        return f"processes {describe(processes)}"
    if port is not None and _lasts(lambda: is_listening(port), limits.port_s):
        return f"a listener on port {port}"
    more = gpus.not_given_back(limits.gpu_s)
    return ", ".join(f"{gib:g} GiB of GPU {index}" for index, gib in more.items()) or None


def _lasts(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether `condition` still holds after `timeout_s`; returns as soon as it does not."""
    deadline = time.monotonic() + timeout_s
    while condition():
        if time.monotonic() >= deadline:
            return True
        time.sleep(_TICK_S)
    return False
