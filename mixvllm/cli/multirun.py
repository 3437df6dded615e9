"""A sweep: planned whole, run group by group, resumed where it was left, shown as a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.search import run_search
from mixvllm.cli.slurm_sweep import run_slurm_sweep
from mixvllm.cli.stock_launcher import run_with_hydra
from mixvllm.cli.sweep_end import done_before, remarks, show_plan, show_results, tell_trackers
from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.cli.sweeping import place, sweep_folder, works_of
from mixvllm.cli.terminal import remark
from mixvllm.config.load.launcher import launcher_kind, local_launcher
from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.infeasible import Infeasible
from mixvllm.sweep.launched import write_launched
from mixvllm.sweep.local import LocalLauncher
from mixvllm.sweep.override import last_value
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.plan_record import missing, write_plan
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.result_files import write_results
from mixvllm.sweep.search.space import asks_for_search
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.workers import Workers, await_earlier


def run_multirun(arguments: Arguments, goes_on_in: Path | None = None) -> int:
    """Run the sweep that was typed; return 0 where every repeat of every point is ok.

    1: some failed or are invalid. 128 + n where signal n stopped it.

    Args:
        goes_on_in: the folder of the sweep that this one must be.

    Raises:
        ConfigError: points are wrong; nothing was started.
        PreflightFailed: this machine lacks something for one of the servers; nothing was started.
    """
    if _is_true(arguments.overrides, "detach"):
        raise ConfigError([Fault("detach", "a sweep stays with its terminal; nohup leaves it alone", "true")])
    if "submit=slurm" in arguments.overrides:
        raise ConfigError([Fault("submit", "is for one run; a sweep is submitted by hydra/launcher=slurm", "slurm")])
    if asks_for_search(arguments.overrides):
        return run_search(arguments, goes_on_in)
    is_dry_run = _is_true(arguments.overrides, "dry_run")
    kind = launcher_kind(arguments.overrides, arguments.config_dirs)
    if kind == "hydra" and not is_dry_run:
        return run_with_hydra(arguments)
    with Draft() as draft:
        plan = make_plan(arguments.overrides, arguments.config_dirs, draft=draft, say=remark)
        if plan.settings.search is not None:
            return run_search(arguments, goes_on_in)
        if kind == "slurm":
            return run_slurm_sweep(plan, draft, arguments, goes_on_in, is_dry_run=is_dry_run)
        if is_dry_run:
            show_plan(plan)
            return EXIT_OK
        options = local_launcher(plan.hydra)
        plan.check()
        folder = sweep_folder(plan, goes_on_in)
        with folder.locked():
            await_earlier(folder, remark)
            write_plan(plan, draft, folder, sys.argv)
            write_launched(folder, arguments.overrides, arguments.config_dirs)
            return _run(plan, folder, options)


def _is_true(overrides: Sequence[str], key: str) -> bool:
    """Whether `overrides` set `key`, which holds for all points, to true."""
    return (last_value(overrides, key) or "").lower() in ("true", "yes", "on", "1")


def _run(plan: Plan, folder: SweepFolder, options: LocalLauncherConfig) -> int:
    repeats = list(missing(plan.points, folder, plan.settings.rerun))
    works = works_of(plan, repeats)
    for line in remarks(plan, len(repeats)):
        remark(line)
    possible, slots = place(plan, works, folder, options)
    done = done_before(plan, folder, repeats)
    with StopSignals() as signals:
        screen = SweepScreen(plan.points, done, num_servers=len(works), num_slots=slots.capacity)
        fail_fast, infeasible = plan.settings.fail_fast, Infeasible(folder) if plan.settings.skip_infeasible else None
        try:
            with Workers(folder) as workers:
                launcher = LocalLauncher(
                    folder, workers, slots, signals, screen, fail_fast=fail_fast, infeasible=infeasible
                )
                launcher.run(possible)
        finally:
            screen.close()
            written = write_results(folder)
        tell_trackers(folder, plan.settings.track, signals)
        return show_results(written, folder, signals)
