"""What Slurm asks of a job by signals; the engine is not to hear of it before we tell it."""

from __future__ import annotations

import signal
import threading
from time import monotonic
from types import FrameType
from typing import Self

from mixvllm.server.limits import StartLimit
from mixvllm.server.signals import StopSignals

_TIME_UP = (signal.SIGUSR1, signal.SIGUSR2)
_ONE_ASKING_S = 5.0
"""Slurm sends a SIGTERM to the step, and srun passes on its own: together they ask once."""


class JobSignals(StopSignals):
    """Records what asks a job to stop; main thread only, before any other is started.

    SIGUSR1 and SIGUSR2 say that its time is nearly up; submitit has Slurm send the second one. Slurm sends it to every
    process of the step, and it would end the engine in the midst of its requests: it is blocked here, which whatever is
    started later inherits, and a thread waits for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_time_up = False
        self._first_at = 0.0
        self._is_forced = False
        self._start_limit: StartLimit | None = None

    def __enter__(self) -> Self:
        signal.pthread_sigmask(signal.SIG_BLOCK, _TIME_UP)
        threading.Thread(target=self._await_time_up, daemon=True).start()
        return super().__enter__()

    @property
    def is_time_up(self) -> bool:
        """Whether the job ends soon, and nobody asked for it to be stopped."""
        return self._is_time_up and not self._received

    def is_requested(self) -> bool:
        """Whether a stop was asked for, or the time is up."""
        return self._is_time_up or super().is_requested()

    def is_forced(self) -> bool:
        """Whether it was asked for again, later."""
        return self._is_forced

    def limit_first_start(self, limit: StartLimit) -> None:
        """Have the first start end in time: a later one, which had less of the job, goes on in the job's next start."""
        self._start_limit = limit

    def take_start_limit(self) -> StartLimit | None:
        """Return what limits the first start; None from the second on."""
        limit, self._start_limit = self._start_limit, None
        return limit

    def ask_to_stop(self) -> None:
        """Have it as if a SIGTERM had come."""
        self._received.append(signal.SIGTERM)

    def _await_time_up(self) -> None:
        signal.sigwait(_TIME_UP)
        self._is_time_up = True
        while True:  # what comes later is taken, too, and says nothing new
            signal.sigwait(_TIME_UP)

    def _record(self, number: int, frame: FrameType | None) -> None:
        super()._record(number, frame)
        if len(self._received) == 1:
            self._first_at = monotonic()
        elif monotonic() - self._first_at > _ONE_ASKING_S:
            self._is_forced = True
