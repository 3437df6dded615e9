"""The truth about all runs of this user: those in jobs of Slurm are held against what Slurm says.

A record is a hint: a job may have been cancelled, or have lost its node, without a word. What Slurm says wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixvllm.cluster.queue import Job
from mixvllm.cluster.slurm import SlurmUnreachable
from mixvllm.cluster.submission import Submission, find_submissions, read_submission
from mixvllm.cluster.submitted import SubmittedState, look_at_submission
from mixvllm.cluster.view import QueueView
from mixvllm.errors import UntrustedFile
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.registry import LAST, RunNotFound
from mixvllm.server import fleet
from mixvllm.server.fleet import LOST, UNKNOWN, RunState

_JOB_ID = re.compile(r"\d+(_\d+)?")


class Fleet:
    """Looks at runs. Slurm is asked only where one of them is in a job, once for all, and seldom.

    Args:
        view: of Slurm's queue.
    """

    def __init__(self, view: QueueView | None = None) -> None:
        self._view = view or QueueView()

    def look_at_all(self) -> list[RunState]:
        """Return what was submitted, then every registered run; each newest first."""
        runs, submissions = fleet.look_at_all(), find_submissions()
        self._view.want(job_id for run in runs if (job_id := job_id_of(run)) and not run.has_ended)
        submitted = {each.folder for each in submissions}
        return [
            *(self._of_submission(each) for each in submissions),
            *(self._held_against_slurm(run) for run in runs if run.folder.path not in submitted),
        ]

    def find_run(self, text: str) -> RunState:
        """Return what `text` means: a run as `resolve_run` takes it, a job's id, or the name of what was submitted.

        Raises:
            RunNotFound: it means nothing, or several.
        """
        if text == LAST:
            return self._last()
        submissions = find_submissions()
        submission = _submission_at(Path(text).absolute()) or _only(each for each in submissions if each.name == text)
        if submission is not None:
            return self._of_submission(submission)
        if _JOB_ID.fullmatch(text):
            return self._run_of_job(text)
        try:
            return self._held_against_slurm(fleet.find_run(text))
        except RunNotFound:
            submission = _only(each for each in submissions if text and text in each.name)
            if submission is None:
                raise
            return self._of_submission(submission)

    def look_at(self, folder: RunFolder) -> RunState:
        """Return the state of the run in `folder`, or of what was submitted for it."""
        submission = _submission_at(folder.path)
        if submission is not None:
            return self._of_submission(submission)
        return self._held_against_slurm(fleet.look_at(folder))

    def runs_of(self, submitted: SubmittedState) -> list[RunState]:
        """Return the runs of the servers that the jobs of `submitted` started, newest first."""
        below = [run for run in fleet.look_at_all() if submitted.folder.path in run.folder.path.parents]
        return [self._held_against_slurm(run) for run in below]

    def have_jobs_ended(self, job_ids: Iterable[str]) -> bool:
        """Whether Slurm says that these jobs have ended, their processes too."""
        ids = list(job_ids)
        self._view.want(ids)
        with suppress(SlurmUnreachable):
            jobs = [self._view.job(job_id, None) for job_id in ids]
            return all(job is None or job.has_ended for job in jobs)
        return False

    def forget(self) -> None:
        """Ask Slurm anew at the next look, since something was done."""
        self._view.forget()

    def _last(self) -> RunState:
        submission = next(iter(find_submissions()), None)
        with suppress(RunNotFound):
            run = fleet.find_run(LAST)
            began = run.moment("began_at") or run.last_sign
            if submission is None or began > submission.submitted_at:
                return self.look_at(run.folder)
        return self._of_submission(submission) if submission else fleet.find_run(LAST)

    def _of_submission(self, submission: Submission) -> RunState:
        """Return how the jobs are; of a run that was submitted how that is, while nothing of it waits to run again."""
        folder = RunFolder(submission.folder)
        if not folder.status.exists():
            return look_at_submission(submission, self._view)
        run = self._held_against_slurm(fleet.look_at(folder))
        if not run.has_ended:
            return run
        submitted = look_at_submission(submission, self._view)
        return run if submitted.has_ended or submitted.state == UNKNOWN else submitted

    def _run_of_job(self, job_id: str) -> RunState:
        of_job = next((run for run in fleet.look_at_all() if job_id_of(run) == job_id), None)
        if of_job is not None:
            return self.look_at(of_job.folder)
        for submission in find_submissions():
            if job_id in submission.element_ids:
                name = submission.name
                raise RunNotFound(f"job {job_id} of {name} has started no server\n  next: mixvllm logs {name}")
        raise RunNotFound(f"no job {job_id} was submitted from here\n  next: mixvllm ps --all lists what there is")

    def _held_against_slurm(self, run: RunState) -> RunState:
        job_id = job_id_of(run)
        if job_id is None or run.has_ended:
            return run
        record = run.record["job"]
        try:
            job = self._view.job(job_id, record.get("cluster"))
        except SlurmUnreachable as error:
            return replace(run, state=UNKNOWN, cause=str(error).partition("\n")[0])
        contradiction = _contradiction(job_id, job, record)
        return run if contradiction is None else replace(run, state=contradiction[0], cause=contradiction[1])


def job_id_of(run: RunState) -> str | None:
    """Return the id of the job that the run is in; None where it is in none of ours."""
    job = run.record.get("job")
    job_id = job.get("job_id") if isinstance(job, dict) else None
    return job_id if isinstance(job_id, str) and _JOB_ID.fullmatch(job_id) else None


def _contradiction(job_id: str, job: Job | None, record: dict[str, Any]) -> tuple[str, str] | None:
    """Return state and cause of a run that says it lives, by a job that says otherwise; None where it does not."""
    if job is None:
        return LOST, f"Slurm has forgotten its job {job_id}, and nobody recorded its end"
    if job.has_ended:
        state = {"CANCELLED": "stopped", "COMPLETED": LOST}.get(job.state, "failed")
        return state, f"its job {job_id} has ended: {job.words}"
    if job.is_pending or job.num_restarts not in (None, record.get("restart_count")):
        return LOST, f"its job {job_id} was put back into the queue: {job.words}"
    return None


def _submission_at(path: Path) -> Submission | None:
    with suppress(UntrustedFile, OSError):
        return read_submission(path)
    return None


def _only(submissions: Iterable[Submission]) -> Submission | None:
    found = list(submissions)
    return found[0] if len(found) == 1 else None
