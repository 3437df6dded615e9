"""The ports of the tests: each of the processes in which they run has its own, also beside those of another checkout.

They are below those that the kernel gives to whoever connects, since one of these may be taken between the moment at
which it was free and the server's start; and beside those of jobs of Slurm (from 8000) and of vLLM's processes among
themselves (from 20000).
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import socket
from pathlib import Path

_FIRST = 22_000
_NUM_EACH = 500
_NUM_PARTS = 16


@functools.cache
def first_port() -> int:
    """Return where the ports begin that the launchers of this process try.

    They are its own until it ends; where all are taken, more processes than there are parts share the first.
    """
    parts = range(_FIRST, _FIRST + _NUM_PARTS * _NUM_EACH, _NUM_EACH)
    return next(filter(_take, parts), _FIRST)


def _take(first: int) -> bool:
    lock = Path("/tmp") / f"mixvllm-tests-{os.getuid()}-{first}.lock"
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def is_free(port: int) -> bool:
    """Whether nobody has `port` of this machine."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_OFFSETS = itertools.cycle(range(_NUM_EACH // 2, _NUM_EACH))
"""The upper half of the ports of a process; its launchers try the lower half first."""


def find_port() -> int:
    """Return a port that is free, and that this process did not return lately."""
    return next(port for offset in _OFFSETS if is_free(port := first_port() + offset))
