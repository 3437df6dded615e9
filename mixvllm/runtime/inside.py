"""Starts the engine inside a container, and passes on what the launcher's side says over the standard input.

A signal to srun ends its task at once, so that no request could finish: `step.py` writes lines instead. Their end, or
silence, is the death of the launcher's side, and ends the engine. A program of its own, for the container's Python:
standard library only.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

SILENCE_S = 15.0  # many lines that did not come
GRACE_S = 5.0
TICK_S = 0.1
SIGNALS = {b"TERM": signal.SIGTERM, b"INT": signal.SIGINT}


def main(argv: list[str]) -> int:
    """Run `argv` to its end; return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)  # of Slurm, to all of the job; not passed on by an exec
    engine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    heard, partial = time.monotonic(), b""
    while engine.poll() is None:
        if select.select([0], [], [], TICK_S)[0]:
            chunk = os.read(0, 4096)
            if not chunk:
                return end(engine)
            heard = time.monotonic()
            lines = (partial + chunk).split(b"\n")
            partial = lines.pop()
            for line in lines:
                if line in SIGNALS:
                    engine.send_signal(SIGNALS[line])
        elif time.monotonic() - heard > SILENCE_S:
            return end(engine)
    status = engine.wait()
    return status if status >= 0 else 128 - status


def end(engine: subprocess.Popen[bytes]) -> int:
    """End the engine, whose launcher is gone; what it started is ended by Slurm with this task."""
    engine.terminate()
    try:
        engine.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(engine.pid, signal.SIGKILL)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
