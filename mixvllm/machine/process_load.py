"""What a set of processes takes of this machine: CPU and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.machine import GIB

PSS_PERIOD_S = 60.0
"""Seconds between two sums of PSS: the kernel walks every page for one, which a large engine would feel."""


@dataclass(frozen=True)
class ProcessLoad:
    """Some processes at one moment.

    Args:
        num_processes: that live.
        cpu_percent: of one core, since the look before; None at the first one.
        rss_gib: GiB, memory that several share counted for each.
        pss_gib: GiB, shared memory counted once; `PSS_PERIOD_S` old at the most. None where the system does not tell.
    """

    num_processes: int
    cpu_percent: float | None
    rss_gib: float
    pss_gib: float | None

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "num_processes": self.num_processes,
            "cpu_percent": self.cpu_percent,
            "rss_gib": self.rss_gib,
            "pss_gib": self.pss_gib,
        }


class ProcessReader:
    """Looks at the same processes again and again, which is what a share of the CPU takes."""

    def __init__(self) -> None:
        self._cpu_s: dict[tuple[int, float], float] = {}
        self._looked_at: float | None = None
        self._pss_gib: float | None = None
        self._pss_due = 0.0

    def read(self, pids: Iterable[int]) -> ProcessLoad:
        """Return what the processes `pids` take; one that is gone counts nothing."""
        now = time.monotonic()
        processes = _living(pids)
        cpu_percent = self._cpu_percent({identity: cpu_s for identity, (cpu_s, _) in processes.items()}, now)
        if now >= self._pss_due:
            self._pss_due = now + PSS_PERIOD_S
            self._pss_gib = _pss_gib(pid for pid, _ in processes)
        rss_gib = round(sum(rss_bytes for _, rss_bytes in processes.values()) / GIB, 3)
        return ProcessLoad(len(processes), cpu_percent, rss_gib, self._pss_gib)

    def _cpu_percent(self, cpu_s: dict[tuple[int, float], float], now: float) -> float | None:
        before, looked_at = self._cpu_s, self._looked_at
        self._cpu_s, self._looked_at = cpu_s, now
        if looked_at is None or now <= looked_at:
            return None
        used_s = sum(total_s - before.get(identity, 0.0) for identity, total_s in cpu_s.items())
        return round(100 * used_s / (now - looked_at), 1)


def _living(pids: Iterable[int]) -> dict[tuple[int, float], tuple[float, int]]:
    """Return CPU seconds and RSS bytes by process id and start time."""
    import psutil  # noqa: PLC0415 - a launch is quicker without it

    found = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                found[pid, process.create_time()] = (times.user + times.system, memory.rss)
        except psutil.Error:
            continue
    return found


def _pss_gib(pids: Iterable[int]) -> float | None:
    num_kib = 0
    for pid in pids:
        try:
            with Path(f"/proc/{pid}/smaps_rollup").open(encoding="ascii") as file:
                num_kib += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except (ProcessLookupError, FileNotFoundError):
            continue
        except (OSError, StopIteration):
            return None
    return round(num_kib * 1024 / GIB, 3)
