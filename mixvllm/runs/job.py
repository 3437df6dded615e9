"""Which Slurm job a run is in, as its record says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONCE_VARIABLE = "MIXVLLM_JOB_NONCE"
"""Environment variable: set in jobs that we submitted, and there alone: a run in somebody's own allocation is local."""


def element_id(array_id: str, index: int | str) -> str:
    """Return the id of an array's element, as `squeue --array` has it."""
    return f"{array_id}_{index}"


def restart_count(environment: Mapping[str, str]) -> int:
    """Return how often the job of the process that has `environment` was started before."""
    count = environment.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0


def job_of_environment(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the job of the process that has `environment`; None where none of ours is.

    `job_id` is as `squeue --array` has it: `17_3` for an array's element. A job that is requeued keeps it, has another
    `restart_count`, and may run beside its earlier self for a while: its `nonce` tells the two apart.
    """
    nonce, job_id = environment.get(NONCE_VARIABLE), environment.get("SLURM_JOB_ID")
    if not nonce or not job_id:
        return None
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return {
        "job_id": element_id(array, index) if array and index else job_id,
        "restart_count": restart_count(environment),
        "nonce": nonce,
        "cluster": environment.get("SLURM_CLUSTER_NAME"),
        "node": environment.get("SLURMD_NODENAME"),
    }
