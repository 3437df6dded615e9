"""The search itself: asks for points, has them measured, and tells what came of them, until enough were tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from time import monotonic

from mixvllm.sweep.plan import PlannedPoint
from mixvllm.sweep.search.study import Study, Trial


class End(Enum):
    """Why a search is over."""

    TRIALS = "sweep.num_trials are tried"
    SPACE = "all points are tried"
    BUDGET = "sweep.budget_min is spent"
    STOPPED = "it was stopped"


@dataclass(frozen=True)
class Limits:
    """When to end.

    Args:
        num_trials: that are tried in all, with those of earlier runs.
        budget_s: seconds after which none begins; None = no limit.
    """

    num_trials: int
    budget_s: float | None = None


@dataclass(frozen=True)
class TrialWork:
    """What is done with trials.

    Args:
        plan: returns the point of a trial, or why there is none.
        num_at_once: how many points like this one are measured side by side.
        measure: measures points; returns when all are done, or a stop is asked for.
        judge: returns the values of a point, or why it has none; None where it is not wholly measured.
        should_stop: whether a stop is asked for.
    """

    plan: Callable[[Trial], PlannedPoint | str]
    num_at_once: Callable[[PlannedPoint], int]
    measure: Callable[[Sequence[PlannedPoint]], None]
    judge: Callable[[PlannedPoint], Sequence[float] | str | None]
    should_stop: Callable[[], bool]


class Search:
    """Runs trials in batches, as many at once as the machine takes; none has to wait for the worst of many.

    Args:
        study: which tells what is tried next.
        work: what is done with it.
        limits: when to end.
        clock: seconds.
    """

    def __init__(self, study: Study, work: TrialWork, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self._study = study
        self._work = work
        self._limits = limits
        self._clock = clock
        self._is_exhausted = False

    def run(self) -> End:
        """Try points, first those that an earlier run has not ended; return why it ended."""
        began_s = self._clock()
        left = [trial for trial in self._study.trials() if trial.state == "open"]
        while True:
            batch = self._planned(left) if left else self._next_batch()
            left = []
            self._work.measure([point for _, point in batch])
            is_done = [self._judge(trial, point) for trial, point in batch]
            if not all(is_done) or self._work.should_stop():
                return End.STOPPED
            if self._is_exhausted:
                return End.SPACE
            if self._num_left() <= 0:
                return End.TRIALS
            if self._limits.budget_s is not None and self._clock() - began_s >= self._limits.budget_s:
                return End.BUDGET

    def _num_left(self) -> int:
        return self._limits.num_trials - len(self._study.trials())

    def _next_batch(self) -> list[tuple[Trial, PlannedPoint]]:
        """Return new trials that have points; those that have none are pruned on the way."""
        batch: list[tuple[Trial, PlannedPoint]] = []
        num_at_once = 1
        while len(batch) < num_at_once and self._num_left() > 0 and not self._work.should_stop():
            trial = self._study.ask()
            if trial is None:
                self._is_exhausted = True
                break
            batch += self._planned([trial])
            num_at_once = self._work.num_at_once(batch[0][1]) if batch else 1
        return batch

    def _planned(self, trials: Sequence[Trial]) -> list[tuple[Trial, PlannedPoint]]:
        planned = []
        for trial in trials:
            point = self._work.plan(trial)
            if isinstance(point, str):
                self._study.prune(trial, point)
            else:
                planned.append((trial, point))
        return planned

    def _judge(self, trial: Trial, point: PlannedPoint) -> bool:
        """Tell the study what came of a trial; return whether it is done."""
        outcome = self._work.judge(point)
        if outcome is None:
            return False
        if isinstance(outcome, str):
            self._study.prune(trial, outcome)
        else:
            self._study.tell(trial, outcome)
        return True
