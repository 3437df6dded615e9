"""What processes have used so far: the sign that a silent server works."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mixvllm.server.processes import ProcessId

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Resources used by some processes since each of them began.

    Args:
        cpu_s: seconds of CPU time.
        read_bytes: bytes they read, from files, pipes and mapped pages.
    """

    cpu_s: float
    read_bytes: int


def usage_of(processes: Iterable[ProcessId]) -> Usage:
    """Return what `processes` have used; one that is gone counts nothing."""
    rows = [_read(process.pid) for process in processes]
    return Usage(sum(row.cpu_s for row in rows), sum(row.read_bytes for row in rows))


def _read(pid: int) -> Usage:
    """Source: proc_pid_stat(5), fields 14 and 15; proc_pid_io(5)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        io = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        counts = dict(line.split(": ") for line in io.splitlines())
    except (OSError, ValueError):
        return Usage(0.0, 0)
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(counts["rchar"]) + int(counts["read_bytes"]))
