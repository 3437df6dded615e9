"""What a cluster allows."""

from __future__ import annotations

from dataclasses import dataclass

from mixvllm.cluster.slurm import run_slurm


@dataclass(frozen=True)
class Limits:
    """What a cluster allows.

    Args:
        cluster: its name.
        version: of Slurm.
        max_array_size: elements that an array may have whose indices begin at 0; 0 = there are no arrays.
        max_job_count: jobs that the cluster knows at a time, of all users; each element of an array counts.
        has_accounting: whether `sacct` tells of jobs that have ended.
    """

    cluster: str
    version: str
    max_array_size: int
    max_job_count: int
    has_accounting: bool


def read_limits() -> Limits:
    """Ask Slurm, once.

    Raises:
        SlurmUnreachable: there is no answer.
    """
    return parse_limits(run_slurm(("scontrol", "show", "config")))


def parse_limits(text: str) -> Limits:
    """Return the limits that `scontrol show config` tells; what it does not is Slurm's default."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    values = {name.strip(): value.strip() for name, _, value in pairs}
    return Limits(
        cluster=values.get("ClusterName", ""),
        version=values.get("SLURM_VERSION", ""),
        max_array_size=int(values.get("MaxArraySize", "1001")),
        max_job_count=int(values.get("MaxJobCount", "10000")),
        has_accounting=values.get("AccountingStorageType", "").endswith("/slurmdbd"),
    )
