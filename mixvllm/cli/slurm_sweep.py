"""A sweep on a Slurm cluster: planned and frozen here, submitted as arrays, followed until all jobs have ended."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.job_watch import JobWatch, listed
from mixvllm.cli.slurm_screen import SlurmScreen
from mixvllm.cli.sweep_end import done_before, remarks, show_plan, show_results, tell_trackers
from mixvllm.cli.sweeping import sweep_folder, works_of
from mixvllm.cli.terminal import remark, short
from mixvllm.cluster.array_folder import Element
from mixvllm.cluster.dry_run import dry_run_lines
from mixvllm.cluster.follow import SubmittedJob, living_jobs
from mixvllm.cluster.shape import JobShape, shape_of_record
from mixvllm.cluster.submit import submit_jobs
from mixvllm.config.load.launcher import slurm_launcher
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.records import read_json
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.launched import write_launched
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.plan_record import Repeat, missing, write_plan
from mixvllm.sweep.result_files import write_results
from mixvllm.sweep.sweep_folder import SweepFolder

Jobs = list[tuple[JobShape, Element]]
"""What each job takes, and what it does."""


def run_slurm_sweep(
    plan: Plan, draft: Draft, arguments: Arguments, goes_on_in: Path | None = None, *, is_dry_run: bool = False
) -> int:
    """Run a sweep on the cluster; return 0 where every repeat of every point is ok, or is submitted.

    1: some failed or are invalid. 128 + n where signal n had it leave the jobs to themselves.

    Args:
        plan: of the sweep; `draft` has its points.
        arguments: that were typed.
        goes_on_in: the folder of the sweep that this one must be.
        is_dry_run: whether the plan and the scripts are shown, and nothing is written or submitted.

    Raises:
        ConfigError: points or options are wrong; nothing was submitted.
        MixvllmError: Slurm does not answer, or refused a job.
    """
    options = slurm_launcher(plan.hydra, arguments.config_dirs)
    if is_dry_run:
        return _show(plan, draft, options)
    plan.check()
    _check(plan, options)
    folder = sweep_folder(plan, goes_on_in)
    with folder.locked():
        write_plan(plan, draft, folder, sys.argv)
        write_launched(folder, arguments.overrides, arguments.config_dirs)
        return _run(plan, folder, options)


def _check(plan: Plan, options: SlurmLauncherConfig) -> None:
    if plan.settings.fail_fast and not options.wait:
        words = "takes somebody who sees the first failure: hydra.launcher.wait=true"
        raise ConfigError([Fault("sweep.fail_fast", words, "true")])


def _show(plan: Plan, draft: Draft, options: SlurmLauncherConfig) -> int:
    show_plan(plan)
    name = plan.settings.name or "NAME"
    folder = SweepFolder(Path(plan.output_dir).absolute() / "sweeps" / name)
    with tempfile.TemporaryDirectory(prefix="mixvllm-plan-") as temporary:
        frozen = SweepFolder.create(temporary, name)
        draft.write(frozen)
        jobs = _jobs(plan, list(missing(plan.points, folder, plan.settings.rerun)), frozen, options)
    sys.stdout.write("\n".join(dry_run_lines(folder.path, jobs, options, name)) + "\n")
    return EXIT_OK


def _run(plan: Plan, folder: SweepFolder, options: SlurmLauncherConfig) -> int:
    repeats = list(missing(plan.points, folder, plan.settings.rerun))
    for line in remarks(plan, len(repeats)):
        remark(line)
    with StopSignals() as signals:  # one that comes meanwhile leaves no job that nobody knows
        jobs = submit_missing(plan, folder, repeats, options)
        if options.wait:
            return _wait(plan, folder, repeats, jobs, signals)
    sys.stdout.write("".join(f"{array}\n" for array in dict.fromkeys(job.array_id for job in jobs)))
    remark(f"to follow: mixvllm resume {short(folder.path)} hydra.launcher.wait=true")
    return EXIT_OK


def submit_missing(
    plan: Plan, folder: SweepFolder, repeats: Sequence[Repeat], options: SlurmLauncherConfig
) -> list[SubmittedJob]:
    """Submit what of `repeats` no job does that waits or runs; return those jobs, and the new ones.

    Raises:
        MixvllmError: Slurm does not answer, or refused a job.
    """
    on_their_way = living_jobs(folder.path)
    if on_their_way:
        remark(f"{len(on_their_way)} jobs of before are in the queue, or run: {listed(on_their_way)}")
    taken = {repeat for job in on_their_way for repeat in job.element.repeats}
    # Asked after the jobs: one that has ended since `repeats` were looked for is not among them any more.
    open_ = {(repeat.point.content_hash, repeat.number) for repeat in missing(plan.points, folder, plan.settings.rerun)}
    left = [repeat for repeat in repeats if (repeat.point.content_hash, repeat.number) in open_ - taken]
    return [*on_their_way, *submit_jobs(folder.path, _jobs(plan, left, folder, options), options, folder.name, remark)]


def follow(
    plan: Plan,
    folder: SweepFolder,
    repeats: Sequence[Repeat],
    jobs: Sequence[SubmittedJob],
    signals: StopSignals,
) -> None:
    """Show `jobs`, which do `repeats`, until all have ended, or a signal came."""
    done = done_before(plan, folder, repeats)
    screen = SlurmScreen(plan.points, done, num_servers=len(jobs), num_slots=len(jobs))

    def tell(event: dict[str, Any]) -> None:
        screen(event)
        if plan.settings.fail_fast and event.get("verdict") == "failed":
            watch.cancel("a repeat failed: cancelling the jobs (sweep.fail_fast)")

    watch = JobWatch(jobs, screen, signals, tell)
    try:
        watch.until_ended()
    finally:
        screen.close()


def _wait(
    plan: Plan, folder: SweepFolder, repeats: Sequence[Repeat], jobs: Sequence[SubmittedJob], signals: StopSignals
) -> int:
    try:
        follow(plan, folder, repeats, jobs, signals)
    finally:
        written = write_results(folder)
    tell_trackers(folder, plan.settings.track, signals)
    return show_results(written, folder, signals)


def _jobs(plan: Plan, repeats: Sequence[Repeat], folder: SweepFolder, options: SlurmLauncherConfig) -> Jobs:
    """Return a job for each group that `repeats` are of; its points are frozen in `folder`."""
    is_warm = plan.settings.warm_start == "on"
    works = works_of(plan, repeats)
    elements = [Element(work.server_key, work.repeats, is_warm) for work in works]
    return [(_shape(element, folder, options), element) for element in elements]


def _shape(element: Element, folder: SweepFolder, options: SlurmLauncherConfig) -> JobShape:
    record = read_json(folder.point(element.repeats[0][0])) or {}
    return shape_of_record(record, options, os.environ, num_repeats=len(element.repeats))
