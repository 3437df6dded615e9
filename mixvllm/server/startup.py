"""Following a start: its phases, and whether it stalls in one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from mixvllm.server.log import LogReader
from mixvllm.server.usage import Usage
from mixvllm.vllm.phases import STALL_S, StartupPhases

_LOOK_PERIOD_S = 2.0
_MIN_CPU_S = 0.05  # in one period; less is what a process that only waits uses
_MIN_READ_BYTES = 1 << 16


class StartUp:
    """Follows a server's log and its processes until it is ready.

    Args:
        log: of the server.
        usage: asks what its processes have used so far.
        stall_timeout_s: seconds that any phase may show no sign of life; None = each phase's own.
        clock: seconds.
    """

    def __init__(
        self,
        log: LogReader,
        usage: Callable[[], Usage],
        stall_timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._usage = usage
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock
        self._phases = StartupPhases()
        self._last: Usage | None = None
        self._alive_at = clock()
        self._look_at = clock()

    @property
    def phase(self) -> str:
        """The phase it is in."""
        return self._phases.current

    def new_phases(self) -> Iterator[str]:
        """Yield the phases that have begun since the last call."""
        for line in self._log.new_lines():
            self._alive_at = self._clock()
            if self._phases.read(line):
                yield self._phases.current

    def stalled_s(self) -> float | None:
        """Return the seconds without a log line, CPU time or bytes read, where they are too many for the phase."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_PERIOD_S
            self._look(now)
        limit_s = self._stall_timeout_s or STALL_S[self.phase]
        return now - self._alive_at if now - self._alive_at >= limit_s else None

    def _look(self, now: float) -> None:
        usage, last = self._usage(), self._last
        self._last = usage
        if last is None or _works(last, usage):
            self._alive_at = now


def _works(before: Usage, now: Usage) -> bool:
    """Whether processes did more than wait between two looks; less CPU time than before is of one that ended."""
    cpu_s, read_bytes = now.cpu_s - before.cpu_s, now.read_bytes - before.read_bytes
    return cpu_s < 0 or cpu_s >= _MIN_CPU_S or read_bytes >= _MIN_READ_BYTES
