"""The processor of this machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def cpu_facts(cpuinfo: Path = _CPUINFO) -> dict[str, str | int]:
    """Return its `name`, or the architecture where the kernel has no name for it, and the usable `num_cores`."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {"name": next(names, "") or platform.machine(), "num_cores": len(os.sched_getaffinity(0))}
