"""Programs that a benchmark starts: in a session of its own, ended with everything that it started; or to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from mixvllm.server.log import tail
from mixvllm.server.processes import ProcessId, ProcessTree, describe, identify

_STOP_S = 60.0  # vLLM drains for 30 s at the most; then its processes end
_LEFTOVERS_S = 3.0  # helpers that end by themselves when their parent is gone
_POLL_S = 0.1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchmarkFailed(Exception):
    """What was to be measured did not happen."""


class Session:
    """A running program, a context manager: leaving it ends the program and all its descendants, whatever happened.

    Args:
        command: argv, shape (n,), program first.
        log: file for its output.
        cwd: where it runs.
    """

    def __init__(self, command: Sequence[str], *, log: Path, cwd: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.began_at = time.time()
            """Seconds since 1970, just before the start."""
            self._process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leader = identify(self._process.pid) or ProcessId(self._process.pid, 0)
        self._tree = ProcessTree(self._leader)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def cpu_s(self) -> float:
        """Processor time of the program and its descendants so far, in seconds. Source: proc_pid_stat(5), 14 to 17."""
        return sum(_cpu_ticks(process.pid) for process in self._tree.refresh()) / _TICKS_PER_S

    @property
    def peak_memory_mib(self) -> float:
        """The most memory that the leader itself has held so far, without its children. Source: proc_pid_status(5)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))

    def age_s(self, pid: int) -> float:
        """Return how old the program was when its descendant `pid` started, in seconds, to 0.01 s."""
        descendant = identify(pid)
        if descendant is None:
            raise BenchmarkFailed(self.with_log(f"process {pid} ended by itself"))
        return (descendant.start_ticks - self._leader.start_ticks) / _TICKS_PER_S

    def remember_children(self) -> None:
        """Note which processes there are now, so that they are ended even where their parent ends first."""
        self._tree.refresh()

    def raise_if_ended(self) -> None:
        """Raise `BenchmarkFailed` with the end of the log where the program has ended."""
        status = self._process.poll()
        if status is not None:
            raise BenchmarkFailed(self.with_log(f"the program ended by itself, exit status {status}"))

    def with_log(self, what: str) -> str:
        """Return `what` and the end of the log."""
        return "\n    ".join([what, *tail(self._log)])

    def _stop(self) -> None:
        """Interrupt the leader as Ctrl-C would, and kill at a deadline; a second Ctrl-C of ours kills at once."""
        try:
            self._tree.refresh()
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGINT)
            self._wait(_STOP_S)
            self._tree.wait_gone(_LEFTOVERS_S)
        finally:
            left = self._tree.kill()
            self._process.poll()
        if left:
            raise BenchmarkFailed(f"left after the stop: {describe(left)}")

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None and time.monotonic() < deadline:
            self._tree.refresh()
            time.sleep(_POLL_S)


def output_of(command: Sequence[str], cwd: Path, timeout_s: float | None = None) -> str:
    """Run `command` to its end and return what it printed.

    Raises:
        BenchmarkFailed: it failed.
    """
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        words = f"{' '.join(command)}: exit status {done.returncode}"
        raise BenchmarkFailed(f"{words}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def exit_at_sigterm() -> None:
    """Have a SIGTERM end this process as Ctrl-C does: by an exception, so that what was started is ended on the way."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _cpu_ticks(pid: int) -> int:
    """Return what the process and its children that have ended took."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, text[text.rindex(")") + 2 :].split()[11:15]))
