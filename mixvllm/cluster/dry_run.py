"""What would be submitted: the scripts, and what Slurm says to them, where it is there to be asked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixvllm.cluster.array_folder import ArrayFolder, Element
from mixvllm.cluster.limits import Limits, read_limits
from mixvllm.cluster.script import script_text
from mixvllm.cluster.shape import JobShape
from mixvllm.cluster.slurm import SlurmRefused, SlurmUnreachable, run_slurm
from mixvllm.cluster.submit import batches_of, names_of
from mixvllm.config.schema.launcher import SlurmLauncherConfig

_USUAL_ARRAY_SIZE = 1001  # where a cluster does not say so itself


def dry_run_lines(
    work: Path, jobs: Sequence[tuple[JobShape, Element]], options: SlurmLauncherConfig, name: str
) -> Iterator[str]:
    """Yield the script of each array, and the answer of `sbatch --test-only`; nothing is submitted, or written.

    Args:
        work: folder of the sweep, or of the run, as it would be.
        jobs: shape and work of each.
        options: of the launcher.
        name: of the jobs, where the options give none.
    """
    limits = _limits()
    batches = batches_of(jobs, max(1, limits.max_array_size) if limits else _USUAL_ARRAY_SIZE)
    for batch, array_name in zip(batches, names_of(len(batches)), strict=True):
        folder = ArrayFolder.at(work, array_name)
        script = script_text(folder, batch.shape, len(batch.elements), options, name)
        yield f"\n--- {len(batch.elements)} jobs: {folder.script}"
        yield script.rstrip()
        yield f"--- sbatch --test-only: {_answer(script) if limits else 'no cluster answers here'}"


def _limits() -> Limits | None:
    """Return what the cluster allows; None where there is none, or it does not answer."""
    if shutil.which("sbatch") is None:
        return None
    try:
        return read_limits()
    except SlurmUnreachable:
        return None


def _answer(script: str) -> str:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="mixvllm-", suffix=".sh") as file:
        file.write(script)
        file.flush()
        try:
            return run_slurm(["sbatch", "--test-only", file.name], with_errors=True).strip()
        except (SlurmRefused, SlurmUnreachable) as error:
            return str(error)
