"""From groups to arrays of jobs: bucketed by what they take, written whole, then submitted."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mixvllm.cluster.array_folder import ArrayFolder, Element, Terms, arrays_of
from mixvllm.cluster.follow import SubmittedJob, submitted_jobs
from mixvllm.cluster.limits import read_limits
from mixvllm.cluster.script import script_text
from mixvllm.cluster.shape import JobShape
from mixvllm.cluster.slurm import run_slurm
from mixvllm.cluster.submission import Array, write_submission
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.errors import MixvllmError
from mixvllm.runs.files import write_json, write_text
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.sweep.text_table import counted

_OF_A_JOB = ("SLURM", "SRUN_", "PMI", "SUBMITIT_")
_OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")
_EARLY_S = 90.0  # Slurm sends the signal up to a minute early, and the program begins some time after its job
_SBATCH_S = 60.0  # a controller with much to do answers late


@dataclass(frozen=True)
class Batch:
    """Jobs that are one array.

    Args:
        shape: of each job.
        elements: what each does, shape (n,).
    """

    shape: JobShape
    elements: tuple[Element, ...]


class SubmitFailed(MixvllmError):
    """Slurm did not take an array; what it took before stays."""


def batches_of(jobs: Sequence[tuple[JobShape, Element]], max_array_size: int) -> list[Batch]:
    """Return the jobs of each shape together, in their order, in as many arrays as Slurm's limit takes.

    Args:
        jobs: shape and work of each.
        max_array_size: elements that one array may have.
    """
    by_shape: dict[JobShape, list[Element]] = {}
    for shape, element in jobs:
        by_shape.setdefault(shape, []).append(element)
    return [
        Batch(shape, tuple(elements[first : first + max_array_size]))
        for shape, elements in by_shape.items()
        for first in range(0, len(elements), max_array_size)
    ]


def names_of(num_arrays: int, now: datetime | None = None) -> Iterator[str]:
    """Yield the names of the arrays that are submitted together; those of later ones sort behind them."""
    stem = f"{now or datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"
    return (f"{stem}-{number:03}" for number in range(num_arrays))


def write_arrays(work: Path, batches: Sequence[Batch], options: SlurmLauncherConfig, name: str) -> list[ArrayFolder]:
    """Write all that the jobs of `batches` need, so that nothing is missing, or changes, once they are submitted.

    Args:
        work: folder of the sweep, or of the run; its points are frozen there.
        options: of the launcher.
        name: of the jobs, where the options give none.
    """
    folders = []
    for batch, array_name in zip(batches, names_of(len(batches)), strict=True):
        folder = ArrayFolder.create(work, array_name)
        folder.write_elements(batch.elements, _terms(batch.shape, options))
        write_text(folder.script, script_text(folder, batch.shape, len(batch.elements), options, name), mode=0o700)
        folders.append(folder)
    return folders


def _terms(shape: JobShape, options: SlurmLauncherConfig) -> Terms:
    full_time_s = 60 * shape.timeout_min - options.signal_delay_s - _EARLY_S
    return Terms(options.max_requeues, full_time_s, shape.timeout_min, options.signal_delay_s)


def submit(folders: Sequence[ArrayFolder], cluster: str) -> list[str]:
    """Submit arrays that were written to the cluster of that name, one by one; return their ids, shape (n,).

    Raises:
        SubmitFailed: Slurm refused one, or does not answer; those before it are in the queue.
    """
    ids: list[str] = []
    for folder in folders:
        try:
            sbatch = ["sbatch", "--parsable", str(folder.script)]
            answer = run_slurm(sbatch, timeout_s=_SBATCH_S, environment=of_no_job(os.environ))
        except MixvllmError as error:
            raise SubmitFailed(_refusal(error, folder, ids)) from error
        ids.append(answer.strip().partition(";")[0])
        write_json(folder.array, {"schema": SCHEMA_VERSION, "job_id": ids[-1]})
        known = [(one, len(one.read_elements()[0])) for one in arrays_of(folder.work)]
        write_submission(folder.work, cluster, [Array(one.job_id or "", number) for one, number in known])
    return ids


def of_no_job(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without what a job has in which this process may be: its new jobs would take it for theirs.

    `SBATCH_*` are options that the user wants for all that is submitted.
    """
    names = (name for name in environment if not name.startswith(_OF_A_JOB) or name in _OF_THE_CLUSTER)
    return {name: environment[name] for name in names}


def submit_jobs(
    work: Path,
    jobs: Sequence[tuple[JobShape, Element]],
    options: SlurmLauncherConfig,
    name: str,
    say: Callable[[str], None],
) -> list[SubmittedJob]:
    """Write and submit jobs for the sweep, or the run, in `work`; return them.

    Args:
        jobs: shape and work of each.
        options: of the launcher.
        name: of the jobs, where the options give none.
        say: told what was submitted.

    Raises:
        MixvllmError: Slurm does not answer, or refused an array; those before it are in the queue.
    """
    if not jobs:
        return []
    limits = read_limits()
    batches = batches_of(jobs, max(1, limits.max_array_size))
    ids = submit(write_arrays(work, batches, options, name), limits.cluster)
    counts = f"{counted(len(jobs), 'job')} in {counted(len(ids), 'array')}"
    say(f"submitted: {counts}, {'id' if len(ids) == 1 else 'ids'} {', '.join(ids)}")
    return [job for job in submitted_jobs(work) if job.array_id in ids]


def _refusal(error: MixvllmError, folder: ArrayFolder, ids: Sequence[str]) -> str:
    before = f"; submitted before: {', '.join(ids)}" if ids else "; nothing was submitted"
    lines = [str(error).strip(), f"  script: {folder.script}{before}", f"  next: mixvllm resume {folder.work}"]
    return "\n".join(lines)
