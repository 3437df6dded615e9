"""Stops runs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.fleet.words import end_of, say, state_words
from mixvllm.cli.terminal import remark
from mixvllm.cluster.fleet import Fleet, job_id_of
from mixvllm.cluster.queue import cancel
from mixvllm.cluster.submitted import LOOK_S, SubmittedState
from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.registry import LAST
from mixvllm.server.fleet import LOST, UNKNOWN, RunState, look_at_all
from mixvllm.server.processes import describe
from mixvllm.server.stopping import NotStoppable, living, stop_runs


def stop(
    runs: Sequence[str], *, everything: bool = False, timeout_s: float | None = None, is_forced: bool = False
) -> int:
    """Stop `runs` and say how each has ended; return 1 where something is left.

    Args:
        runs: what `Fleet.find_run` takes; none = the last one. What is in jobs of Slurm is cancelled there.
        everything: every run of this machine instead.
        timeout_s: seconds to wait; None = as long as it takes.
        is_forced: whether requests in flight are given up.

    Raises:
        RunNotFound: one of `runs` means none, or several.
        NotStoppable: one cannot be stopped from here; nothing was done.
    """
    if runs and everything:
        raise ConfigError([Fault("--all", "means every run; name runs, or give --all")])
    fleet = Fleet()
    states = _all_here() if everything else _named(fleet, runs or [LAST])
    if not states:
        say("no run is left to stop")
        return EXIT_OK
    in_jobs = [state for state in states if _is_in_job(state)]
    here = [state.folder for state in states if not _is_in_job(state)]
    _check(in_jobs)
    for state in states:
        remark(_beginning(state, is_forced=is_forced))
    deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
    jobs = [job_id for state in in_jobs for job_id in _unfinished_jobs(state)]
    cancel(jobs)
    ends = stop_runs(here, timeout_s=timeout_s, is_forced=is_forced) if here else []
    num_left = sum(map(_is_left, ends)) + sum(map(_is_left, _await_jobs(fleet, in_jobs, jobs, deadline)))
    return EXIT_FAILED if num_left else EXIT_OK


def _is_in_job(state: RunState) -> bool:
    return isinstance(state, SubmittedState) or job_id_of(state) is not None


def _check(states: Sequence[RunState]) -> None:
    for state in states:
        if state.state == UNKNOWN:
            raise NotStoppable(
                f"{state.name}: {state.cause}\n  next: try again when Slurm answers; nothing was stopped"
            )


def _unfinished_jobs(state: RunState) -> list[str]:
    if isinstance(state, SubmittedState):
        return state.unfinished_ids
    job_id = job_id_of(state)
    return [job_id] if job_id and not state.has_ended else []


def _await_jobs(fleet: Fleet, states: Sequence[RunState], jobs: Sequence[str], deadline: float) -> list[RunState]:
    """Return the states when all have ended, their jobs too, or the time is up."""
    fleet.forget()
    while True:
        now = [fleet.look_at(state.folder) for state in states]
        is_over = all(state.has_ended for state in now) and fleet.have_jobs_ended(jobs)
        if is_over or time.monotonic() >= deadline:
            return now
        time.sleep(LOOK_S)


def _beginning(state: RunState, *, is_forced: bool) -> str:
    jobs = _unfinished_jobs(state)
    if jobs:
        what = f"{len(jobs)} jobs" if len(jobs) > 1 else f"job {jobs[0]}"
        return f"stopping {state.name}: cancelling {what}"
    if not _is_in_job(state) and (state.state == LOST or (state.has_ended and living(state))):
        return f"ending what is left of {state.name}: {state.cause}"
    if state.has_ended:
        return f"{state.name} has ended already"
    return f"stopping {state.name}" + ("" if is_forced else "; requests in flight finish first")


def _named(fleet: Fleet, runs: Sequence[str]) -> list[RunState]:
    states = [fleet.find_run(run) for run in runs]
    return list({state.folder: state for state in states}.values())


def _all_here() -> list[RunState]:
    found = [state for state in look_at_all() if not state.has_ended or state.state == LOST or living(state)]
    states = [state for state in found if job_id_of(state) is None]
    if len(states) < len(found):
        remark(f"{len(found) - len(states)} runs are in jobs of Slurm and go on: mixvllm stop NAME cancels one's job")
    for state in states:
        if state.is_remote:
            remark(f"{state.name} runs on {state.host} and goes on: ssh {state.host} mixvllm stop {state.name}")
    return [state for state in states if not state.is_remote]


def _is_left(state: RunState) -> bool:
    """Say how a run has ended; return whether it has not, or something of it is left."""
    left = [] if _is_in_job(state) else living(state)
    if state.has_ended and not left:
        say(end_of(state))
        return False
    what = "has ended" if state.has_ended else f"is still {state_words(state)}"
    remark(f"error: {state.name} {what}" + (f"; alive: {describe(left)}" if left else "") + _advice(state))
    return True


def _advice(state: RunState) -> str:
    if _is_in_job(state):
        return f"\n  next: mixvllm wait {state.name} --stopped; Slurm kills what does not end by itself"
    if state.supervisor is None or state.has_ended:
        return "\n  next: mixvllm doctor --end"
    last = f"where its launcher does not react: kill -9 {state.supervisor.pid}, and its guardian ends the server"
    return f"\n  next: mixvllm stop {state.name} --now; {last}"
