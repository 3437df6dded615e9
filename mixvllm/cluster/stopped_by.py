"""Who stopped this job: Slurm sends SIGTERM for all of scancel, preemption, a requeue, and the end of its time."""

from __future__ import annotations

import re
from typing import Literal

from mixvllm.cluster.job import ThisJob
from mixvllm.cluster.slurm import SlurmRefused, SlurmUnreachable, run_slurm

_ANSWER_S = 5.0  # no more: the job is killed soon
_FIELD = re.compile(r"(\S+?)=(\S*)")

Stopper = Literal["cancelled", "preempted", "requeued", "stopped"]
"""`requeued`: somebody had it begin anew, and Slurm sees to that. `stopped`: nobody can say."""


def stopped_by(job: ThisJob) -> Stopper:
    """Return why `job` got a SIGTERM; asks Slurm, which may not answer."""
    try:
        return parse_stopper(run_slurm(("scontrol", "--oneliner", "show", "job", job.job_id), timeout_s=_ANSWER_S), job)
    except (SlurmUnreachable, SlurmRefused):
        return "stopped"


def parse_stopper(text: str, job: ThisJob) -> Stopper:
    """Return why `job` got a SIGTERM, from what scontrol shows of it.

    A job that is preempted is RUNNING until its time of grace is over; Slurm puts it back into the queue only where it
    has not ended by then. A job that is cancelled is COMPLETING as soon as it is.
    """
    fields = dict(_FIELD.findall(text))
    state = fields.get("JobState", "")
    if int(fields.get("Restarts") or 0) > job.restart_count:
        return "requeued"
    if state == "RUNNING" and fields.get("PreemptTime", "None") != "None":
        return "preempted"
    return "cancelled" if state in ("COMPLETING", "CANCELLED") else "stopped"
