"""Where the trials of a search are measured: on this machine, or in jobs of a cluster."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from mixvllm.cli.slurm_sweep import follow, submit_missing
from mixvllm.cli.sweep_end import done_before
from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.cli.sweeping import place, visible_gpus, works_of
from mixvllm.cli.terminal import remark
from mixvllm.config.schema.launcher import LocalLauncherConfig, SlurmLauncherConfig
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.infeasible import Infeasible
from mixvllm.sweep.local import LocalLauncher
from mixvllm.sweep.plan import Plan, PlannedPoint, groups_of
from mixvllm.sweep.plan_record import Repeat, missing, read_points, write_plan
from mixvllm.sweep.result_files import write_results
from mixvllm.sweep.search.loop import TrialWork
from mixvllm.sweep.search.space import Space
from mixvllm.sweep.search.study import Trial
from mixvllm.sweep.search.trial_point import Asked, TrialPlanner, judge
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.workers import Workers

_USUAL_JOBS = 8
"""Trials that are submitted at once where `array_parallelism` says nothing: more would each know less of the others."""


def plan_of(points: Sequence[PlannedPoint], space: Space, asked: Asked) -> Plan:
    """Return a plan of points that were chosen; what this machine cannot run is left out, not refused.

    Servers are warm, unless that is off: others follow, though no plan has them yet.
    """
    settings = asked.settings
    is_cold = settings.warm_start == "off" or settings.num_trials == 1
    return Plan(
        points=tuple(points),
        groups=tuple(groups_of(points)),
        swept=tuple(axis.key for axis in space.axes),
        settings=settings.model_copy(update={"skip_infeasible": True, "warm_start": "off" if is_cold else "on"}),
        output_dir=asked.output_dir,
        num_candidates=len(points),
        hydra=asked.hydra,
    )


class Trials(ABC):
    """Measures trials.

    Args:
        planner: plans their points.
        asked: what holds for all of them.
        folder: of the search.
        signals: ask for a stop.
    """

    def __init__(self, planner: TrialPlanner, asked: Asked, folder: SweepFolder, signals: StopSignals) -> None:
        self._planner = planner
        self._space = planner.space
        self._asked = asked
        self._folder = folder
        self._signals = signals
        self._points = {point.index: point for point in (read_points(folder) if folder.record.exists() else [])}

    def work(self) -> TrialWork:
        """Return what the search does with trials."""
        return TrialWork(self._plan, self._num_at_once, self._measure, self._judge, self._signals.is_requested)

    @abstractmethod
    def _num_at_once(self, point: PlannedPoint) -> int:
        """Return how many points like this one are measured side by side."""

    @abstractmethod
    def _launch(self, batch: Plan, repeats: Sequence[Repeat]) -> None:
        """Measure `repeats` of the points of `batch`; return when all are done, or a stop is asked for."""

    def _plan(self, trial: Trial) -> PlannedPoint | str:
        return self._planner.plan(trial, self._folder)

    def _judge(self, point: PlannedPoint) -> list[float] | str | None:
        return judge(point, self._folder, list(self._asked.settings.objective))

    def _measure(self, points: Sequence[PlannedPoint]) -> None:
        """Measure what is not measured yet, and bring the table up to date."""
        if not points:
            return
        self._points |= {point.index: point for point in points}
        ordered = [self._points[index] for index in sorted(self._points)]
        with Draft() as nothing_new:
            write_plan(plan_of(ordered, self._space, self._asked), nothing_new, self._folder, sys.argv)
        batch = plan_of(list({point.content_hash: point for point in points}.values()), self._space, self._asked)
        repeats = list(missing(batch.points, self._folder))
        if not repeats:
            return
        numbers = ", ".join(str(point.index) for point in batch.points)
        remark(f"trial{'s' if len(batch.points) > 1 else ''} {numbers}")
        try:
            self._launch(batch, repeats)
        finally:
            write_results(self._folder)


class LocalTrials(Trials):
    """Measures trials on this machine.

    Args:
        options: of the launcher.
        workers: that measure.
    """

    def __init__(
        self,
        planner: TrialPlanner,
        asked: Asked,
        folder: SweepFolder,
        signals: StopSignals,
        options: LocalLauncherConfig,
        workers: Workers,
    ) -> None:
        super().__init__(planner, asked, folder, signals)
        self._options = options
        self._workers = workers
        self._infeasible = Infeasible(folder)

    def _num_at_once(self, point: PlannedPoint) -> int:
        gpus = self._gpus
        return len(gpus) // max(1, point.shape.num_gpus) if gpus else self._options.slots

    @cached_property
    def _gpus(self) -> Sequence[object]:
        return visible_gpus() if self._options.gpus == "auto" else self._options.gpus

    def _launch(self, batch: Plan, repeats: Sequence[Repeat]) -> None:
        works = works_of(batch, repeats)
        possible, slots = place(batch, works, self._folder, self._options)
        done = done_before(batch, self._folder, repeats)
        screen = SweepScreen(batch.points, done, num_servers=len(works), num_slots=slots.capacity)
        try:
            launcher = LocalLauncher(
                self._folder,
                self._workers,
                slots,
                self._signals,
                screen,
                fail_fast=self._asked.settings.fail_fast,
                infeasible=self._infeasible,
            )
            launcher.run(possible)
        finally:
            screen.close()


class SlurmTrials(Trials):
    """Measures trials in jobs of a cluster: those of a batch are submitted together, and waited for.

    Args:
        options: of the launcher.
    """

    def __init__(
        self,
        planner: TrialPlanner,
        asked: Asked,
        folder: SweepFolder,
        signals: StopSignals,
        options: SlurmLauncherConfig,
    ) -> None:
        super().__init__(planner, asked, folder, signals)
        self._options = options

    def _num_at_once(self, point: PlannedPoint) -> int:
        return self._options.array_parallelism or _USUAL_JOBS

    def _launch(self, batch: Plan, repeats: Sequence[Repeat]) -> None:
        settings = batch.settings.model_copy(update={"warm_start": self._asked.settings.warm_start})
        own = replace(batch, settings=settings)  # in a job no server follows another, so that warm is worth nothing
        jobs = submit_missing(own, self._folder, repeats, self._options)
        follow(own, self._folder, repeats, jobs, self._signals)
