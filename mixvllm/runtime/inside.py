"""Starts the engine inside a container, and passes on what the launcher's side says over the standard input.

A signal to srun ends its task at once, so that no request could finish: `step.py` writes lines instead. Their end, or
silence, is the death of the launcher's side, and ends the engine. What the engine leaves behind is adopted and ended:
Slurm waits for it, else. A program of its own, for the container's Python: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

SILENCE_S = 15.0  # many lines that did not come
GRACE_S = 5.0
LEFTOVERS_S = 2.0  # for what ends by itself when the engine has
TICK_S = 0.1
SIGNALS = {b"TERM": signal.SIGTERM, b"INT": signal.SIGINT}
PR_SET_CHILD_SUBREAPER = 36


def main(argv: list[str]) -> int:
    """Run `argv` to its end; return its exit status, as a shell does."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)  # of Slurm, to all of the job
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # for the engine, too: Slurm announces the end of a job by it
    engine = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    if not follow(engine):
        engine.terminate()
        wait(engine, GRACE_S)
    if engine.poll() is not None:
        deadline = time.monotonic() + LEFTOVERS_S
        while descendants() and time.monotonic() < deadline:
            time.sleep(TICK_S)
    while left := descendants():
        for pid in left:
            kill(pid)
        engine.poll()
        time.sleep(TICK_S)
    status = engine.wait()
    return status if status >= 0 else 128 - status


def follow(engine: subprocess.Popen[bytes]) -> bool:
    """Pass on what is read until the engine has ended; return False where nothing comes any more."""
    heard, partial = time.monotonic(), b""
    while engine.poll() is None:
        if select.select([0], [], [], TICK_S)[0]:
            chunk = os.read(0, 4096)
            if not chunk:
                return False
            heard = time.monotonic()
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                if line in SIGNALS:
                    engine.send_signal(SIGNALS[line])
        elif time.monotonic() - heard > SILENCE_S:
            return False
    return True


def wait(engine: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for the engine, for `timeout_s` at the most."""
    deadline = time.monotonic() + timeout_s
    while engine.poll() is None and time.monotonic() < deadline:
        time.sleep(TICK_S)


def descendants() -> list[int]:
    """Return the living processes that this one or its children started, at any remove."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            parents[int(folder.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def kill(pid: int) -> None:
    """Kill a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
