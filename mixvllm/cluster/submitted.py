"""How the jobs of a submission are: what Slurm says, and for what it has forgotten what they wrote of their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mixvllm.cluster.array_folder import arrays_of
from mixvllm.cluster.queue import Job
from mixvllm.cluster.slurm import SlurmUnreachable
from mixvllm.cluster.submission import Submission
from mixvllm.cluster.view import QueueView
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import read_json
from mixvllm.server.fleet import DONE, LOST, UNKNOWN, RunState

LOOK_S = 1.0
"""Between two looks at what was submitted: each reads a file for every job, on a disk that nodes share."""

_ENDS = {"done": DONE, "failed": "failed", "given_up": "failed", "cancelled": "stopped"}
"""The state of a job by the last word that it left."""

_GONE = "Slurm has forgotten it, and it left no word of its end"


@dataclass(frozen=True)
class ElementState:
    """One job of a submission.

    Args:
        job_id: as `squeue --array` has it.
        state: `pending`, `running`, `done`, `failed`, `stopped`, `lost` or `unknown`.
        reason: why, in Slurm's words or the job's own; None where there is nothing to say.
        nodes: that it has or had.
    """

    job_id: str
    state: str
    reason: str | None = None
    nodes: str = ""


@dataclass(frozen=True)
class SubmittedState(RunState):
    """What was submitted for a folder, as if it were a run.

    Args:
        elements: its jobs, oldest first, shape (n,).
        cluster: that has them.
    """

    elements: tuple[ElementState, ...] = ()
    cluster: str = ""

    @property
    def unfinished_ids(self) -> list[str]:
        """The ids of the jobs that may run still."""
        return [element.job_id for element in self.elements if element.state in ("pending", "running", UNKNOWN)]


def look_at_submission(submission: Submission, view: QueueView) -> SubmittedState:
    """Return the state of everything that was submitted for a folder."""
    told = dict(_told(submission))
    view.want(id_ for id_ in submission.element_ids if id_ not in told)
    elements = tuple(told.get(id_) or _asked(id_, submission.cluster, view) for id_ in submission.element_ids)
    state, cause = _sum(elements)
    return SubmittedState(
        folder=RunFolder(submission.folder),
        state=state,
        cause=cause,
        is_remote=False,
        supervisor=None,
        guardian=None,
        leader=None,
        num_orphans=0,
        last_sign=submission.submitted_at,
        record={"phase": _phase(elements), "host": submission.host, "began_at": submission.submitted_at.isoformat()},
        elements=elements,
        cluster=submission.cluster,
    )


def _told(submission: Submission) -> Iterator[tuple[str, ElementState]]:
    """Give the jobs that wrote how they ended."""
    sizes = {array.job_id: array.num_elements for array in submission.arrays}
    for folder in arrays_of(submission.folder):
        job_id = folder.job_id or ""
        for index in range(sizes.get(job_id, 0)):
            record = read_json(folder.job(index)) or {}
            state = _ENDS.get(str(record.get("state")))
            if state is not None:
                cause = record.get("cause")
                yield f"{job_id}_{index}", ElementState(f"{job_id}_{index}", state, str(cause) if cause else None)


def _asked(job_id: str, cluster: str, view: QueueView) -> ElementState:
    try:
        job = view.job(job_id, cluster)
    except SlurmUnreachable as error:
        return ElementState(job_id, UNKNOWN, str(error).partition("\n")[0])
    return ElementState(job_id, LOST, _GONE) if job is None else _of_slurm(job)


def _of_slurm(job: Job) -> ElementState:
    if job.is_pending:
        return ElementState(job.id, "pending", job.reason)
    if job.is_running:
        return ElementState(job.id, "running", None, job.nodes)
    if not job.has_ended:
        return ElementState(job.id, UNKNOWN, job.words, job.nodes)
    state = {"COMPLETED": DONE, "CANCELLED": "stopped"}.get(job.state, "failed")
    return ElementState(job.id, state, None if state == DONE else job.words, job.nodes)


def _sum(elements: Sequence[ElementState]) -> tuple[str, str | None]:
    """Return the state of all, and its cause."""
    for state in (UNKNOWN, "running", "pending", LOST, "failed", "stopped"):
        those = [element for element in elements if element.state == state]
        if those:
            of = f"{len(those)} of {len(elements)} jobs" if len(elements) > 1 else f"job {those[0].job_id}"
            return state, None if state in ("running", "pending") else f"{of}: {_reasons(those)}"
    return DONE, None


def _phase(elements: Sequence[ElementState]) -> str:
    pending = [element for element in elements if element.state == "pending"]
    if len(elements) == 1:
        return _reasons(elements)
    counts = Counter(element.state for element in elements)
    words = [
        f"{count} {state}" + (f": {_reasons(pending)}" if state == "pending" else "")
        for state, count in _ordered(counts)
    ]
    return ", ".join(words)


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    order = ("running", "pending", UNKNOWN, DONE, "failed", "stopped", LOST)
    return [(state, counts[state]) for state in order if counts[state]]


def _reasons(elements: Iterable[ElementState]) -> str:
    """Return each reason once, or where the jobs are."""
    return ", ".join(dict.fromkeys(filter(None, (element.reason or element.nodes for element in elements))))
