"""Watches jobs until they have ended, or the user has seen enough of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mixvllm.cluster.follow import Follower, JobState, SubmittedJob
from mixvllm.cluster.queue import cancel
from mixvllm.cluster.slurm import SlurmUnreachable
from mixvllm.server.signals import StopSignals

_LOOK_S = 2.0  # between two looks at what jobs tell, and between the first calls of squeue
_MAX_LOOK_S = 10.0  # between later ones: a controller has more to do
_TICK_S = 0.2
_SECOND_THOUGHT_S = 3.0  # for another Ctrl-C
_CANCEL_S = 60.0


class JobScreen(Protocol):
    """Who is shown jobs."""

    def say(self, line: str) -> None:
        """Take a line for the user."""

    def show_jobs(self, states: Sequence[JobState]) -> None:
        """Take the states of all jobs."""


class JobWatch:
    """Watches jobs. A first signal of the user leaves them alone, a second Ctrl-C cancels them.

    Args:
        jobs: which.
        screen: shows them.
        signals: of the user.
        tell: takes what the jobs tell.
    """

    def __init__(
        self,
        jobs: Sequence[SubmittedJob],
        screen: JobScreen,
        signals: StopSignals,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._jobs = jobs
        self._follower = Follower(jobs)
        self._screen = screen
        self._signals = signals
        self._tell = tell
        self._is_cancelled = False
        self._is_silent = False
        self._states: Sequence[JobState] = ()

    def until_ended(self) -> bool:
        """Return True when all jobs have ended, False where a signal came before."""
        began = time.monotonic()
        while not self._have_ended():
            look_s = min(_MAX_LOOK_S, max(_LOOK_S, (time.monotonic() - began) / 60))
            if self._listen(look_s):
                self._leave()
                return False
        return True

    def _have_ended(self) -> bool:
        states = self._look()
        return len(states) == len(self._jobs) and all(state.has_ended for state in states)

    def cancel(self, words: str) -> None:
        """Say `words` and cancel all jobs, once."""
        if not self._is_cancelled:
            self._is_cancelled = True
            self._screen.say(words)
            cancel([job.job_id for job in self._jobs])

    def _look(self) -> Sequence[JobState]:
        """Return the states now; while Slurm does not answer, those that it told last."""
        try:
            self._states = self._follower.states()
            self._is_silent = False
        except SlurmUnreachable as error:
            if not self._is_silent:
                self._screen.say(f"{error}\n  trying again until it answers")
            self._is_silent = True
        self._pass_on()
        if not self._is_silent:
            self._screen.show_jobs(self._states)
        return self._states

    def _leave(self) -> None:
        """Have the user think again, then leave the jobs alone, or cancel them."""
        if self._signals.exit_code == 128 + signal.SIGINT:
            self._screen.say("leaving the jobs alone; Ctrl-C again cancels them")
            deadline = time.monotonic() + _SECOND_THOUGHT_S
            while time.monotonic() < deadline and not self._signals.is_forced():
                time.sleep(_TICK_S)
        if not self._signals.is_forced():
            name = self._jobs[0].folder.work.name
            self._screen.say(f"the jobs go on: mixvllm ps shows them, mixvllm stop {name} cancels them")
            return
        self.cancel("cancelling the jobs")
        deadline = time.monotonic() + _CANCEL_S
        while not self._have_ended() and time.monotonic() < deadline:
            time.sleep(_TICK_S)

    def _pass_on(self) -> None:
        for event in self._follower.new_events():
            self._tell(event)

    def _listen(self, seconds: float) -> bool:
        """Pass on what jobs tell, for a while; return early, with True, where a signal came."""
        deadline = time.monotonic() + seconds
        next_at = time.monotonic() + _LOOK_S
        while time.monotonic() < deadline and not self._signals.is_requested():
            time.sleep(_TICK_S)
            if time.monotonic() >= next_at:
                next_at += _LOOK_S
                self._pass_on()
        return self._signals.is_requested()


def listed(jobs: Sequence[SubmittedJob]) -> str:
    """Return the ids of the arrays of `jobs`, as squeue takes them."""
    return ",".join(dict.fromkeys(job.array_id for job in jobs))
