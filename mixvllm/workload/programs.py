"""Programs that measure, as the launcher sees them: one at a time, under a keeper that leaves nothing of any."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixvllm.errors import WorkloadFailed
from mixvllm.server.processes import ProcessId, ProcessTree
from mixvllm.server.usage import usage_of
from mixvllm.workload import keeper as keeper_program

if TYPE_CHECKING:
    from mixvllm.workload.keeper import Job

_TICK_S = 0.05
_CPU_PERIOD_S = 0.2
_START_LIMIT_S = 60.0  # a fork, on the busiest machine
_END_LIMIT_S = keeper_program.GRACE_S + 8.0
_TAIL_BYTES = 4096
_NUM_TAIL_LINES = 20


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Args:
        status: exit status; negative: the signal that ended it.
        cpu_s: seconds of CPU time, all its threads together.
        began_s: when it was started, by `time.monotonic`.
        ended_s: when it had ended.
        is_late: whether it was ended at its time limit.
        was_stopped: whether it was ended since that was asked for.
        cpu_seen: moments, by `time.monotonic`, and the CPU seconds used by then; shape (n, 2).
    """

    status: int
    cpu_s: float
    began_s: float
    ended_s: float
    is_late: bool = False
    was_stopped: bool = False
    cpu_seen: tuple[tuple[float, float], ...] = ()

    def cpu_between(self, from_s: float, to_s: float) -> float:
        """Return the CPU seconds used between two moments, by `time.monotonic`."""
        points = [(self.began_s, 0.0), *self.cpu_seen, (self.ended_s, self.cpu_s)]
        return _at(points, to_s) - _at(points, from_s)


class ProgramRunner:
    """Runs programs, each in a session of its own, its output in a file; nothing of one is left when it has ended.

    A context manager. Starting one returns at once; a warm one imports vLLM meanwhile.

    Args:
        python: interpreter of the keeper; of a warm one that of vLLM.
        environment: of the keeper.
        log: what the keeper itself prints.
        is_warm: whether `vllm bench serve` is imported once, for all runs.
    """

    def __init__(self, python: str, environment: Mapping[str, str], log: Path, *, is_warm: bool = False) -> None:
        self._is_warm = is_warm
        self._partial = b""
        self._reports: list[dict[str, Any]] = []
        self._was_ready = False
        self._is_gone = False
        isolated = [] if is_warm else ["-I", "-S"]
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [python, *isolated, str(keeper_program.__file__), str(os.getpid()), *(["warm"] if is_warm else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
                env=dict(environment),
                bufsize=0,
            )

    @property
    def pid(self) -> int:
        """Number of the keeper."""
        return self._keeper.pid

    def wait_ready(self, timeout_s: float, should_stop: Callable[[], bool]) -> str | None:
        """Wait until programs can be run; return why they cannot, or None."""
        report = self._await("ready", time.monotonic() + timeout_s, should_stop)
        if report is None:
            return "it ended" if self._is_gone else f"it was not ready in {timeout_s:g} s"
        self._was_ready = True
        fault: str | None = report["fault"]
        return fault

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        timeout_s: float | None,
        should_stop: Callable[[], bool],
    ) -> Ended:
        """Run a program to its end; `wait_ready` comes first.

        Args:
            argv: program first; of a warm runner the options of `vllm bench serve`.
            environment: whole.
            log: its output, written anew.
            timeout_s: after which it is ended; None = no limit.
            should_stop: asked again and again; True ends it. What it raises is raised, when the program has ended.

        Raises:
            WorkloadFailed: the keeper was killed.
        """
        job: Job = {
            "argv": list(argv),
            "environment": dict(environment),
            "log": str(log),
            "is_warm": self._is_warm,
        }
        began_s = time.monotonic()
        self._send(job)
        report = self._await("started", began_s + _START_LIMIT_S, lambda: False)
        if report is None:
            raise WorkloadFailed(f"the process that runs {argv[0] if argv else 'programs'} was killed")
        leader = ProcessId(*report["started"])
        return self._watch(leader, began_s, timeout_s, should_stop)

    def _watch(
        self, leader: ProcessId, began_s: float, timeout_s: float | None, should_stop: Callable[[], bool]
    ) -> Ended:
        deadline = None if timeout_s is None else began_s + timeout_s
        seen: list[tuple[float, float]] = []

        def must_end() -> bool:
            if not seen or time.monotonic() - seen[-1][0] >= _CPU_PERIOD_S:
                seen.append((time.monotonic(), usage_of([leader]).cpu_s))
            return should_stop()

        was_asked = True
        try:
            report = self._await("ended", deadline, must_end)
            was_asked = report is None
        finally:
            if was_asked:
                report = self._end(leader)
        ended_s = time.monotonic()
        if report is None:
            raise WorkloadFailed("the process that keeps the measuring program was killed, and the program with it")
        is_late = was_asked and deadline is not None and ended_s >= deadline
        alive = tuple(point for point in seen if point[1] > 0)
        return Ended(
            report["ended"], report["cpu_s"], began_s, ended_s, is_late, was_asked and not is_late, cpu_seen=alive
        )

    def close(self) -> None:
        """End what runs, and the keeper. May be called again."""
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            # One that still imports does not look at its pipe, and has started nothing.
            self._keeper.wait(_END_LIMIT_S if self._was_ready else 0)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()

    def _end(self, leader: ProcessId) -> dict[str, Any] | None:
        """End the program; where its keeper is gone, do the keeper's work."""
        self._send({"do": "end"})
        report = self._await("ended", time.monotonic() + _END_LIMIT_S, lambda: False)
        if report is None:
            ProcessTree(leader).kill()
        return report

    def _send(self, message: object) -> None:
        pipe = self._keeper.stdin
        rest = json.dumps(message).encode() + b"\n"
        with suppress(OSError, ValueError):
            while pipe and rest:
                rest = rest[pipe.write(rest) :]

    def _await(self, what: str, deadline: float | None, should_stop: Callable[[], bool]) -> dict[str, Any] | None:
        """Return the next report of `what`; None at the deadline, at a stop, and where the keeper is gone."""
        while True:
            self._take_reports(_TICK_S)
            for report in self._reports:
                if what in report:
                    self._reports.remove(report)
                    return report
            is_late = deadline is not None and time.monotonic() >= deadline
            if is_late or self._is_gone or should_stop():
                return None

    def _take_reports(self, timeout_s: float) -> None:
        pipe = self._keeper.stdout
        while pipe and not pipe.closed and select.select([pipe], [], [], timeout_s)[0]:
            timeout_s = 0.0
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                self._is_gone = True
                return
            *lines, self._partial = (self._partial + chunk).split(b"\n")
            self._reports += [json.loads(line) for line in lines]

    def __enter__(self) -> ProgramRunner:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def cold_runner(log: Path) -> ProgramRunner:
    """Return a runner of any program."""
    return ProgramRunner(sys.executable, {"PATH": os.defpath}, log)


def end_of_log(log: Path) -> str:
    """Return the last lines of `log`, for a message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_NUM_TAIL_LINES:])


def _at(points: Sequence[tuple[float, float]], moment_s: float) -> float:
    """Return the CPU seconds at `moment_s`, evenly spread between two points."""
    before = points[0]
    for point in points:
        if point[0] >= moment_s:
            span_s = point[0] - before[0]
            share = (moment_s - before[0]) / span_s if span_s > 0 else 0.0
            return before[1] + (point[1] - before[1]) * max(0.0, share)
        before = point
    return before[1]
