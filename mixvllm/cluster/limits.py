"""What a cluster allows."""

from __future__ import annotations

from dataclasses import dataclass

from mixvllm.cluster.slurm import run_slurm


@dataclass(frozen=True)
class Limits:
    """What a cluster allows.

    Args:
        cluster: its name.
        max_array_size: elements that an array may have whose indices begin at 0; 0 = there are no arrays.
    """

    cluster: str
    max_array_size: int


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
    return Limits(values.get("ClusterName", ""), int(values.get("MaxArraySize", "1001")))
