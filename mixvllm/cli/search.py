"""A search: points are chosen one after the other, from what was measured, and run as those of a sweep are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.cli.sweeping import place, say, short, sweep_folder, visible_gpus, works_of
from mixvllm.config.faults import show_value
from mixvllm.config.load.launcher import LOCAL, launcher_name, local_launcher
from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.infeasible import Infeasible
from mixvllm.sweep.launched import write_launched
from mixvllm.sweep.local import LocalLauncher
from mixvllm.sweep.plan import Group, Plan, PlannedPoint
from mixvllm.sweep.plan_lines import counted
from mixvllm.sweep.plan_record import missing, read_points, write_plan
from mixvllm.sweep.results import write_results
from mixvllm.sweep.search.loop import End, Limits, Search, Work
from mixvllm.sweep.search.report import objectives_of, report_lines
from mixvllm.sweep.search.space import Space, read_space
from mixvllm.sweep.search.study import Study, Trial, load_optuna, open_study
from mixvllm.sweep.search.trial_point import Asked, Planner, judge
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.workers import Workers, await_earlier

_SEED = 0


def run_search(arguments: Arguments, goes_on_in: Path | None = None) -> int:
    """Run the search that was typed; return 0 where a point was measured.

    1: none was. 128 + n where signal n stopped it.

    Args:
        goes_on_in: the folder of the search that this one must be.

    Raises:
        ConfigError: what was typed is wrong, or Optuna is not installed; nothing was started.
    """
    if launcher_name(arguments.overrides) != LOCAL:
        words = f"a search runs on hydra/launcher={LOCAL}"
        raise ConfigError([Fault("hydra/launcher", words, launcher_name(arguments.overrides))])
    space = read_space(arguments.overrides, arguments.config_dirs)
    planner = Planner(space, arguments.config_dirs, say)
    asked = planner.asked()
    if asked.is_dry_run:
        sys.stdout.write("\n".join(_space_lines(space, asked)) + "\n")
        return EXIT_OK
    options = local_launcher(asked.hydra)
    load_optuna()
    folder = sweep_folder(_plan_of([], space, asked), goes_on_in)
    with folder.locked(), open_study(folder.search, space, asked.settings.objective, _SEED) as study:
        await_earlier(folder, say)
        write_launched(folder, arguments.overrides, arguments.config_dirs)
        with StopSignals() as signals, Workers(folder) as workers:
            trials = _Trials(planner, asked, folder, options, signals, workers)
            end = Search(study, trials.work(), _limits(asked)).run()
        return _show(end, study, space, asked, folder, signals)


def _limits(asked: Asked) -> Limits:
    budget_min = asked.settings.budget_min
    return Limits(asked.settings.num_trials, None if budget_min is None else 60 * budget_min)


def _space_lines(space: Space, asked: Asked) -> list[str]:
    """Return what a search would do."""
    settings = asked.settings
    objective = ", ".join(f"{direction} {metric}" for metric, direction in settings.objective.items())
    budget = f", for {settings.budget_min:g} min at the most" if settings.budget_min else ""
    axes = [f"  {axis.key}: {', '.join(show_value(choice.label) for choice in axis.choices)}" for axis in space.axes]
    num_trials = counted(min(settings.num_trials, space.num_points), "trial")
    return [f"{objective}: {num_trials} of {counted(space.num_points, 'point')}{budget}", *axes]


def _plan_of(points: Sequence[PlannedPoint], space: Space, asked: Asked) -> Plan:
    """Return a plan of points that were chosen; what this machine cannot run is left out, not refused.

    Servers are warm, unless that is off: others follow, though no plan has them yet.
    """
    settings = asked.settings
    is_cold = settings.warm_start == "off" or settings.num_trials == 1
    by_server: dict[str, list[PlannedPoint]] = {}
    for point in points:
        by_server.setdefault(point.server_key, []).append(point)
    return Plan(
        points=tuple(points),
        groups=tuple(Group(tuple(members)) for members in by_server.values()),
        swept=tuple(axis.key for axis in space.axes),
        settings=settings.model_copy(update={"skip_infeasible": True, "warm_start": "off" if is_cold else "on"}),
        output_dir=asked.output_dir,
        num_candidates=len(points),
        hydra=asked.hydra,
    )


class _Trials:
    """Measures trials on this machine."""

    def __init__(
        self,
        planner: Planner,
        asked: Asked,
        folder: SweepFolder,
        options: LocalLauncherConfig,
        signals: StopSignals,
        workers: Workers,
    ) -> None:
        self._planner = planner
        self._space = planner.space
        self._asked = asked
        self._folder = folder
        self._options = options
        self._signals = signals
        self._workers = workers
        self._infeasible = Infeasible(folder)
        self._points = {point.index: point for point in (read_points(folder) if folder.record.exists() else [])}

    def work(self) -> Work:
        """Return what the search does with trials."""
        return Work(self._plan, self._num_at_once, self._measure, self._judge, self._signals.is_requested)

    def _plan(self, trial: Trial) -> PlannedPoint | str:
        return self._planner.plan(trial, self._folder)

    def _num_at_once(self, point: PlannedPoint) -> int:
        gpus = self._gpus
        return len(gpus) // point.shape.num_gpus if gpus else self._options.slots

    @cached_property
    def _gpus(self) -> Sequence[object]:
        return visible_gpus() if self._options.gpus == "auto" else self._options.gpus

    def _judge(self, point: PlannedPoint) -> list[float] | str | None:
        return judge(point, self._folder, list(self._asked.settings.objective))

    def _measure(self, points: Sequence[PlannedPoint]) -> None:
        """Measure what is not measured yet, and bring the table up to date."""
        if not points:
            return
        self._points |= {point.index: point for point in points}
        ordered = [self._points[index] for index in sorted(self._points)]
        with Draft() as nothing_new:
            write_plan(_plan_of(ordered, self._space, self._asked), nothing_new, self._folder, sys.argv)
        batch = _plan_of(list({point.content_hash: point for point in points}.values()), self._space, self._asked)
        try:
            self._launch(batch)
        finally:
            write_results(self._folder)

    def _launch(self, batch: Plan) -> None:
        works = works_of(batch, list(missing(batch.points, self._folder)))
        if not works:
            return
        numbers = ", ".join(str(point.index) for point in batch.points)
        say(f"trial{'s' if len(batch.points) > 1 else ''} {numbers}")
        possible, slots = place(batch, works, self._folder, self._options)
        done = [record for point in batch.points for record in self._folder.read_repeats(point.content_hash)]
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


def _show(end: End, study: Study, space: Space, asked: Asked, folder: SweepFolder, signals: StopSignals) -> int:
    trials = study.trials()
    written = write_results(folder) if folder.record.exists() else None
    if written is not None:
        width, objectives = shutil.get_terminal_size().columns, objectives_of(asked.settings.objective)
        lines = report_lines(written.results, trials, space, objectives, width)
        sys.stdout.write("\n".join([*lines, "", f"results  {short(folder.results_csv)}"]) + "\n")
        sys.stdout.flush()
    if len(trials) < space.num_points:
        say(f"the search ended: {end.value}. To go on: mixvllm resume {short(folder.path)} sweep.num_trials=N")
    if signals.exit_code is not None:
        return signals.exit_code
    is_good = end is not End.STOPPED and any(trial.state == "measured" for trial in trials)
    return EXIT_OK if is_good else EXIT_FAILED
