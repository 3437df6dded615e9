"""How the jobs of a submission are: what Slurm says, and for what it has forgotten what they wrote of their end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mixvllm.cluster.array_folder import ArrayFolder, arrays_of
from mixvllm.cluster.queue import Job, array_of
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

_UNTOLD = ""  # the state of a job that has not written how it ended: Slurm is asked

_GONE = "Slurm has forgotten it, and it left no word of its end"


@dataclass(frozen=True)
class ElementState:
    """One job of a submission.

    Args:
        job_id: as `squeue --array` has it.
        state: `pending`, `running`, `done`, `failed`, `stopped`, `lost` or `unknown`.
        reason: why, in Slurm's words or the job's own; None where there is nothing to say.
        nodes: that it has or had.
        log: the file that it prints to; None where that is not known. It may not be there yet.
    """

    job_id: str
    state: str
    reason: str | None = None
    nodes: str = ""
    log: str | None = None


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
    folders = {folder.job_id: folder for folder in arrays_of(submission.folder)}
    told = {id_: _told(folders.get(array_of(id_)), id_) for id_ in submission.element_ids}
    view.want(id_ for id_, element in told.items() if element.state == _UNTOLD)
    elements = tuple(
        replace(_asked(id_, submission.cluster, view), log=element.log) if element.state == _UNTOLD else element
        for id_, element in told.items()
    )
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


def _told(folder: ArrayFolder | None, job_id: str) -> ElementState:
    """Return a job by what it wrote of its end; `_UNTOLD` where it has not."""
    if folder is None:
        return ElementState(job_id, _UNTOLD)
    index = int(job_id.rpartition("_")[2])
    record = read_json(folder.job(index)) or {}
    cause, log = record.get("cause"), folder.log(array_of(job_id), index)
    state = _ENDS.get(str(record.get("state")), _UNTOLD)
    return ElementState(job_id, state, str(cause) if cause else None, log=str(log))


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
            return state, _cause(state, of, _reasons(those))
    return DONE, None


def _cause(state: str, of: str, reasons: str) -> str | None:
    if state in ("running", "pending"):
        return None
    if state == UNKNOWN:
        return reasons
    return f"{of} {state}: {reasons}" if reasons else f"{of} {state}"


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
