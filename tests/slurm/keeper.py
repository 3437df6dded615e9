"""Runs a program and adopts every process that comes of it; kills them all when its own standard input ends.

    python -I -S keeper.py PROGRAM ARGUMENT…

Slurm's daemons leave the steps of jobs behind when they die, and those have sessions of their own. Linux gives their
orphans to the nearest ancestor that asks for them, which is this one: so none escapes, and whoever holds the other end
of standard input may be killed at any time. It ends by itself when nothing is left to keep.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence

_PR_SET_CHILD_SUBREAPER = 36
"""Source: prctl(2)."""
_TICK_S = 0.005


def keep(argv: Sequence[str]) -> None:
    """Run `argv` until standard input ends, then kill what is left of it."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    signal.signal(signal.SIGCHLD, _reap)  # a handler, since what is ignored would stay ignored in the program
    actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    while os.read(0, 64):
        pass
    while left := _descendants(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_TICK_S)


def _reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        raise SystemExit from None


def _descendants(root: int) -> set[int]:
    parents = {pid: parent for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if (parent := _parent(pid))}
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - starts quickly
            text = file.read()
    except OSError:
        return None
    return int(text[text.rindex(")") + 2 :].split()[1])


if __name__ == "__main__":
    keep(sys.argv[1:])
