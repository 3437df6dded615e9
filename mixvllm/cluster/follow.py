"""Jobs that were submitted, from then on until they have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.cluster.array_folder import ArrayFolder, Element, arrays_of
from mixvllm.cluster.queue import Job, array_of, read_queue
from mixvllm.runs.files import write_json
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.records import read_json

GONE = "GONE"
"""The state of a job that Slurm does not know any more, and that left no word of its end."""

_OF_RECORD = {"done": "COMPLETED", "failed": "FAILED", "given_up": "FAILED", "cancelled": "CANCELLED"}


@dataclass(frozen=True)
class SubmittedJob:
    """An element of an array that was submitted.

    Args:
        folder: of the array.
        index: in the array.
        element: what it does.
        job_id: as squeue names it.
    """

    folder: ArrayFolder
    index: int
    element: Element
    job_id: str

    @property
    def array_id(self) -> str:
        """The id of the array."""
        return array_of(self.job_id)

    @property
    def log(self) -> Path:
        """What it printed, once it has begun."""
        return self.folder.log(self.array_id, self.index)


@dataclass(frozen=True)
class JobState:
    """A job as it is now.

    Args:
        job: which.
        state: Slurm's word for it, or GONE.
        reason: why it waits, or ended, as Slurm has it; empty where it says nothing.
        node: where it runs, or ran; empty before.
        has_ended: whether nothing follows.
    """

    job: SubmittedJob
    state: str
    reason: str
    node: str
    has_ended: bool


def submitted_jobs(work: Path) -> list[SubmittedJob]:
    """Return all jobs that were ever submitted for the sweep, or the run, in `work`."""
    return [job for folder in arrays_of(work) for job in _jobs(folder)]


def living_jobs(work: Path) -> list[SubmittedJob]:
    """Return those that wait, or run; Slurm is asked once.

    Raises:
        SlurmUnreachable: it does not answer.
    """
    jobs = submitted_jobs(work)
    return [state.job for state in Follower(jobs).states() if not state.has_ended] if jobs else []


class Follower:
    """Looks at jobs again and again.

    Args:
        jobs: which.
    """

    def __init__(self, jobs: Sequence[SubmittedJob]) -> None:
        self._jobs = list(jobs)
        self._recorded: set[str] = set()
        self._offsets = dict.fromkeys((job.job_id for job in jobs), 0)

    def states(self) -> list[JobState]:
        """Return how the jobs are, by one call of squeue; an end that Slurm alone knows of is written down.

        Raises:
            SlurmUnreachable: it does not answer.
        """
        found = read_queue(dict.fromkeys(id_ for job in self._jobs for id_ in (job.job_id, job.array_id)))
        # What was cancelled before it ran is shown as the array that it is what is left of.
        states = [_state(job, found.get(job.job_id) or found.get(job.array_id)) for job in self._jobs]
        for state in states:
            if state.has_ended and state.job.job_id not in self._recorded:
                self._recorded.add(state.job.job_id)
                _record_end(state)
        return states

    def new_events(self) -> list[dict[str, Any]]:
        """Return what the jobs have told since the last call."""
        events = []
        for job in self._jobs:
            new, self._offsets[job.job_id] = job.folder.read_events(job.index, self._offsets[job.job_id])
            events += new
        return events


def _jobs(folder: ArrayFolder) -> list[SubmittedJob]:
    elements, _ = folder.read_elements()
    return [SubmittedJob(folder, at, element, f"{folder.job_id}_{at}") for at, element in enumerate(elements)]


def _state(job: SubmittedJob, found: Job | None) -> JobState:
    if found is not None:
        return JobState(job, found.state, found.reason or "", found.nodes, found.has_ended)
    record = read_json(job.folder.job(job.index)) or {}
    state = _OF_RECORD.get(str(record.get("state")), GONE)
    return JobState(job, state, str(record.get("cause") or ""), str(record.get("host") or ""), has_ended=True)


def _record_end(state: JobState) -> None:
    """Write that a job was cancelled, or ended by somebody else; what it wrote of its own end stays.

    One that has COMPLETED wrote that itself, which may not be seen from here yet.
    """
    file = state.job.folder.job(state.job.index)
    record = read_json(file) or {}
    if state.state == "COMPLETED" or record.get("state") in _OF_RECORD:
        return
    ended = "cancelled" if state.state == "CANCELLED" else "failed"
    cause = f"{state.state.lower()}: {state.reason}" if state.reason else state.state.lower()
    own = {"schema": SCHEMA_VERSION, "job_id": state.job.job_id, "state": ended, "cause": cause}
    write_json(file, {**record, **own})
