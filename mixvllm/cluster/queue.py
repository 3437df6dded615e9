"""What Slurm knows of jobs, asked once for all of them.

`squeue` decides: what it shows is so. It forgets jobs some time after their end (`MinJobAge`); of those `sacct` tells
where there is accounting. A job that neither knows has ended, and nobody can say how.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from mixvllm.cluster.slurm import SlurmRefused, SlurmUnreachable, run_slurm

PENDING_STATES = frozenset(
    ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
)
RUNNING_STATES = frozenset(("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"))
ENDED_STATES = frozenset(
    ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
)
"""The states of the three kinds; what is in none of them is none of the three. Source: squeue(1), JOB STATE CODES."""

_REVOKED = "REVOKED"  # the job runs on another cluster of the federation, under the same id
_SQUEUE_FIELDS = ("JobArrayID:40", "State:20", "RestartCnt:8", "Cluster:64", "NodeList:256", "Reason:256")
_SACCT_FIELDS = ("JobID", "State", "Cluster", "NodeList")
_ELEMENT = re.compile(r"(\d+)_(\d+)")
_RANGE = re.compile(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]")
_SPAN = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
_MAX_IDS = 1000  # in one command line


@dataclass(frozen=True)
class Job:
    """A job, or one element of an array.

    Args:
        id: as `squeue --array` has it: `17`, `17_3` for an array's element, `17+1` for a part of a heterogeneous job.
        state: Slurm's long word, e.g. `PENDING`.
        reason: why it is pending, or failed; Slurm's word. None where there is none.
        nodes: that it has or had, e.g. `n[1-2]`; empty before it runs.
        num_restarts: how often it was requeued; None where only accounting knows the job.
        cluster: its name; None where Slurm does not tell.
    """

    id: str
    state: str
    reason: str | None = None
    nodes: str = ""
    num_restarts: int | None = None
    cluster: str | None = None

    @property
    def is_pending(self) -> bool:
        """Whether it waits to be run, for the first time or again."""
        return self.state in PENDING_STATES

    @property
    def is_running(self) -> bool:
        """Whether it has nodes; its processes may be ending."""
        return self.state in RUNNING_STATES

    @property
    def has_ended(self) -> bool:
        """Whether it will not run again."""
        return self.state in ENDED_STATES

    @property
    def words(self) -> str:
        """Return its state for people: `pending (Resources)`, `running on n1`."""
        name = self.state.lower().replace("_", " ")
        if self.is_pending:
            return f"{name} ({self.reason})" if self.reason else name
        return f"{name} on {self.nodes}" if self.is_running and self.nodes else name


def read_queue(job_ids: Iterable[str] | None = None) -> dict[str, Job]:
    """Return jobs by their ids, elements of arrays one by one.

    An id that is not in the answer is of a job that has ended, and nobody knows how.

    Args:
        job_ids: of jobs, elements, or whole arrays; None = all of this user that Slurm has not forgotten.

    Raises:
        SlurmUnreachable: there is no answer; nothing is known of any job.
    """
    wanted = None if job_ids is None else frozenset(job_ids)
    if wanted is not None and not wanted:
        return {}
    listing = ("squeue", "--me", "--states=all", "--array", "--noheader", f"--Format={'|,'.join(_SQUEUE_FIELDS)}")
    jobs = parse_squeue(run_slurm(listing))
    if wanted is None:
        return jobs
    missing = wanted - jobs.keys() - {array_of(id_) for id_ in jobs}
    if missing:
        jobs = {**_read_accounting(missing), **jobs}
    return {id_: job for id_, job in jobs.items() if id_ in wanted or array_of(id_) in wanted}


def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs, elements, or whole arrays; those that have ended, or were never there, are passed over.

    Returns when Slurm has noted it; the jobs' processes have some time to end.

    Raises:
        SlurmUnreachable: there is no answer; some of the jobs may have been cancelled.
        SlurmRefused: they are somebody else's.
    """
    ids = list(dict.fromkeys(job_ids))
    for first in range(0, len(ids), _MAX_IDS):
        try:
            run_slurm(("scancel", *ids[first : first + _MAX_IDS]))
        except SlurmRefused as error:
            if "Invalid job id" not in str(error) and "already completing or completed" not in str(error):
                raise


def array_of(job_id: str) -> str:
    """Return the id of the array, or heterogeneous job, that `job_id` is a part of; of any other job its own."""
    return re.split(r"[_+]", job_id, maxsplit=1)[0]


def parse_squeue(text: str) -> dict[str, Job]:
    """Return the jobs of a listing with the columns that `read_queue` asks for."""
    jobs: dict[str, Job] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", len(_SQUEUE_FIELDS) - 1)]
        if len(cells) == len(_SQUEUE_FIELDS):
            _add(jobs, cells[0], _squeue_job(cells))
    return jobs


def parse_sacct(text: str) -> dict[str, Job]:
    """Return the jobs of a listing with the columns that `read_queue` asks for."""
    jobs: dict[str, Job] = {}
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) == len(_SACCT_FIELDS):
            _add(jobs, cells[0], _sacct_job(cells))
    return jobs


def expand(job_id: str) -> list[str]:
    """Return the ids that are meant: those of each element for `17_[0,4-6%2]`, else `job_id` alone."""
    match = _RANGE.fullmatch(job_id)
    if match is None:
        return [job_id]
    return [f"{match[1]}_{index}" for span in match[2].split(",") for index in _indices(span)]


def _indices(span: str) -> Iterator[int]:
    match = _SPAN.fullmatch(span)
    if match is not None:
        first = int(match[1])
        yield from range(first, int(match[2] or first) + 1, int(match[3] or 1))


def _add(jobs: dict[str, Job], text: str, job: Job) -> None:
    for id_ in expand(text):
        if id_ not in jobs or jobs[id_].state == _REVOKED:
            jobs[id_] = Job(**{**vars(job), "id": id_})


def _squeue_job(cells: list[str]) -> Job:
    id_, state, num_restarts, cluster, nodes, reason = cells
    return Job(
        id=id_,
        state=state,
        reason=None if reason in ("None", "") else reason,
        nodes=nodes,
        num_restarts=int(num_restarts) if num_restarts.isdecimal() else None,
        cluster=None if cluster in ("N/A", "") else cluster,
    )


def _sacct_job(cells: list[str]) -> Job:
    id_, state, cluster, nodes = cells
    state = state.split()[0] if state else "UNKNOWN"  # `CANCELLED by 1000`
    return Job(
        id=id_,
        state=state,
        nodes="" if nodes == "None assigned" else nodes,
        cluster=cluster or None,
    )


def _read_accounting(job_ids: Iterable[str]) -> Mapping[str, Job]:
    """Return the ends that accounting knows of; none where there is no accounting, or it does not answer.

    It may be behind, and take a job for running that the queue, which is never behind, has forgotten.
    """
    ids = ",".join(sorted({array_of(id_) for id_ in job_ids}))
    listing = ("sacct", "--noheader", "--parsable2", "--allocations", f"--format={','.join(_SACCT_FIELDS)}")
    with suppress(SlurmUnreachable, SlurmRefused):
        jobs = parse_sacct(run_slurm((*listing, f"--jobs={ids}")))
        return {id_: job for id_, job in jobs.items() if job.has_ended}
    return {}
