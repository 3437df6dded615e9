"""The leader of a server that runs as a task of srun: passes SIGTERM and SIGINT on as lines, see `inside.py`.

A program of its own: `python -I -S step.py srun …`; standard library only. It ends when srun has, with its status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

BEAT_S = 1.0
_TICK_S = 0.05
_LINES = {signal.SIGTERM: b"TERM\n", signal.SIGINT: b"INT\n"}


def main(argv: list[str]) -> int:
    """Run `argv`, an srun, to its end; return its exit status."""
    noted: list[int] = []
    for number in _LINES:
        signal.signal(number, lambda number, _frame: noted.append(number))
    reader, writer = os.pipe()
    srun = subprocess.Popen(argv, stdin=reader)
    os.close(reader)
    os.set_blocking(writer, False)
    due = 0.0
    while (status := srun.poll()) is None:
        if time.monotonic() >= due:
            due = time.monotonic() + BEAT_S
            _write(writer, b"\n")
        while noted:
            _write(writer, _LINES[signal.Signals(noted.pop(0))])
        time.sleep(_TICK_S)
    return status if status >= 0 else 128 - status


def _write(descriptor: int, line: bytes) -> None:
    with suppress(OSError):
        os.write(descriptor, line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
