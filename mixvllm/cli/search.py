"""A search: points are chosen one after the other, from what was measured, and run as those of a sweep are."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.sweep_end import tell_trackers
from mixvllm.cli.sweeping import sweep_folder
from mixvllm.cli.terminal import remark, short
from mixvllm.cli.trials import LocalTrials, SlurmTrials, Trials, plan_of
from mixvllm.config.faults import show_value
from mixvllm.config.load.launcher import LOCAL, SLURM, launcher_kind, launcher_name, local_launcher, slurm_launcher
from mixvllm.config.schema.launcher import LocalLauncherConfig, SlurmLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.best import searched_objectives
from mixvllm.sweep.launched import write_launched
from mixvllm.sweep.result_files import write_results
from mixvllm.sweep.search.loop import End, Limits, Search
from mixvllm.sweep.search.report import report_lines
from mixvllm.sweep.search.space import Space, read_space
from mixvllm.sweep.search.study import Study, load_optuna, open_study
from mixvllm.sweep.search.trial_point import Asked, TrialPlanner
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.text_table import counted
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
    kind = launcher_kind(arguments.overrides, arguments.config_dirs)
    if kind == "hydra":
        words = f"a search runs on hydra/launcher={LOCAL}, or {SLURM}"
        raise ConfigError([Fault("hydra/launcher", words, launcher_name(arguments.overrides))])
    space = read_space(arguments.overrides, arguments.config_dirs)
    planner = TrialPlanner(space, arguments.config_dirs, remark)
    asked = planner.asked()
    if asked.is_dry_run:
        sys.stdout.write("\n".join(_space_lines(space, asked)) + "\n")
        return EXIT_OK
    options = local_launcher(asked.hydra) if kind == LOCAL else _slurm_options(asked, arguments)
    load_optuna()
    folder = sweep_folder(plan_of([], space, asked), goes_on_in)
    with folder.locked(), open_study(folder.search, space, asked.settings.objective, _SEED) as study:
        await_earlier(folder, remark)
        write_launched(folder, arguments.overrides, arguments.config_dirs)
        with StopSignals() as signals, Workers(folder) as workers:
            own = planner, asked, folder, signals
            if isinstance(options, LocalLauncherConfig):
                trials: Trials = LocalTrials(*own, options, workers)
            else:
                trials = SlurmTrials(*own, options)
            end = Search(study, trials.work(), _limits(asked)).run()
        return _show(end, study, space, asked, folder, signals)


def _slurm_options(asked: Asked, arguments: Arguments) -> SlurmLauncherConfig:
    options = slurm_launcher(asked.hydra, arguments.config_dirs)
    if not options.wait:
        words = "a search chooses by what was measured, and waits for it; nohup lets it go on without a terminal"
        raise ConfigError([Fault("hydra.launcher.wait", words, "false")])
    return options


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


def _show(end: End, study: Study, space: Space, asked: Asked, folder: SweepFolder, signals: StopSignals) -> int:
    trials = study.trials()
    written = write_results(folder) if folder.record.exists() else None
    if written is not None:
        width, objectives = shutil.get_terminal_size().columns, searched_objectives(asked.settings.objective)
        lines = report_lines(written.results, trials, space, objectives, width)
        sys.stdout.write("\n".join([*lines, "", f"results  {short(folder.results_csv)}"]) + "\n")
        sys.stdout.flush()
    if len(trials) < space.num_points:
        remark(f"the search ended: {end.value}. To go on: mixvllm resume {short(folder.path)} sweep.num_trials=N")
    if signals.exit_code is not None:
        return signals.exit_code
    if written is not None:
        tell_trackers(folder, asked.settings.track, signals)
    is_good = end is not End.STOPPED and any(trial.state == "measured" for trial in trials)
    return EXIT_OK if is_good else EXIT_FAILED
