"""What the leaders of servers of several parts have in common."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

TICK_S = 0.05
"""Seconds between two looks at the parts."""


def noted_signals() -> list[int]:
    """Return a list that grows by each signal that asks for an end, so that they are passed on in order."""
    noted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: noted.append(number))
    return noted


def share_ports() -> None:
    """Have ports leased beside those of all launchers of this user: `TMPDIR` is this server's own, two below theirs."""
    tempfile.tempdir = str(Path(os.environ["TMPDIR"]).parents[1])


def exit_code(status: int) -> int:
    """Return a child's exit status, negative for a signal, as a shell has it."""
    return status if status >= 0 else 128 - status
