"""The job that this process is: its number, its share of the node, and folders of its own."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass

from mixvllm.cluster.job_folders import job_folder
from mixvllm.errors import MixvllmError, PreflightFailed
from mixvllm.machine.ports import FIRST_PORT_VARIABLE
from mixvllm.runs.job import NONCE_VARIABLE, element_id, restart_count
from mixvllm.runtime.caches import ENGINE_CACHES
from mixvllm.sweep.slots import FIRST_INTERNAL_PORT, MAX_SLOTS, Slot, gpu_names

_FIRST_PORT = 8000
_LAST_FIRST_PORT = FIRST_INTERNAL_PORT - 1000  # as many are tried from the first one on
_PORTS_PER_JOB = 40


@dataclass(frozen=True)
class ThisJob:
    """An element of an array that is running here.

    Args:
        array_id: of the whole array.
        index: of the element.
        number: of the job; no two jobs that live at one time have the same.
        restart_count: how often it was started before; a node that was lost may still run such a start.
        nonce: of this start.
    """

    array_id: str
    index: int
    number: int
    restart_count: int
    nonce: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> ThisJob:
        """Return the job that `environment` tells of.

        Raises:
            MixvllmError: it tells of none.
        """
        try:
            return cls(
                environment["SLURM_ARRAY_JOB_ID"],
                int(environment["SLURM_ARRAY_TASK_ID"]),
                int(environment["SLURM_JOB_ID"]),
                restart_count(environment),
                secrets.token_hex(8),
            )
        except KeyError as error:
            raise MixvllmError(f"not an element of an array of Slurm: {error.args[0]} is not set") from None

    @property
    def job_id(self) -> str:
        """As squeue names it."""
        return element_id(self.array_id, self.index)

    @property
    def first_port(self) -> int:
        """Where the ports begin that its servers try: not where those of a job beside it do."""
        return _FIRST_PORT + self.number * _PORTS_PER_JOB % (_LAST_FIRST_PORT - _FIRST_PORT)


def slot_of(job: ThisJob, num_gpus: int, environment: Mapping[str, str]) -> Slot:
    """Return what a server has for itself on this node: what Slurm gave to the job, never more.

    Args:
        num_gpus: that it takes; 0 where it runs on the CPU.

    Raises:
        PreflightFailed: the job has fewer GPUs.
    """
    index = job.number % MAX_SLOTS
    if num_gpus == 0:
        cores = sorted(os.sched_getaffinity(0))
        return Slot(index, cores=tuple(cores) if len(cores) < (os.cpu_count() or 1) else ())
    gpus = _gpus(environment)
    if len(gpus) < num_gpus:
        ways = "hydra.launcher.gpus_per_node=NUMBER, or hydra.launcher.gres=gpu where the cluster wants that"
        raise PreflightFailed(f"the job has {len(gpus)} GPUs, and its server takes {num_gpus}\n  next: {ways}")
    return Slot(index, gpus=tuple(gpus[:num_gpus]))


def _gpus(environment: Mapping[str, str]) -> list[str]:
    names = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
    listed = next((environment[name] for name in names if environment.get(name)), "")
    return gpu_names(listed, lambda: 0)


@contextmanager
def own_surroundings(job: ThisJob, environment: MutableMapping[str, str]) -> Iterator[None]:
    """Give this process ports, temporary files and caches that no other job of this user has; gone at the end."""
    with job_folder(job.number, environment) as folder:
        before = tempfile.tempdir
        environment.update(
            {
                NONCE_VARIABLE: job.nonce,
                FIRST_PORT_VARIABLE: str(job.first_port),
                "TMPDIR": str(folder),
                **{name: str(folder / below) for name, below in ENGINE_CACHES.items() if not environment.get(name)},
            }
        )
        tempfile.tempdir = None  # asked for anew
        try:
            yield
        finally:
            tempfile.tempdir = before
