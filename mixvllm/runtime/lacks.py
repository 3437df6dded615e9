"""What this machine lacks for a runtime, found before anything is started in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.runtime.modules import find_init
from mixvllm.runtime.mounts import named_mounts


@dataclass(frozen=True)
class Lack:
    """One thing that is not there.

    Args:
        finding: what, with its key.
        mend: the change that mends it.
    """

    finding: str
    mend: str


def find_lacks(runtime: RuntimeConfig, environment: Mapping[str, str]) -> list[Lack]:
    """Return what is not there; nothing is started. What the modules are is known only when they are loaded.

    Args:
        runtime: its section.
        environment: of the launcher.
    """
    kinds = {"modules": _of_modules, "apptainer": _of_apptainer, "pyxis": _of_pyxis}
    look = kinds.get(runtime.kind)
    return [] if look is None else [*look(runtime, environment), *_of_mounts(runtime)]


def _of_modules(runtime: RuntimeConfig, environment: Mapping[str, str]) -> Iterator[Lack]:
    init = find_init(runtime, environment)
    if init is None:
        mend = "runtime.module_init=FILE, which defines the shell function module, e.g. $LMOD_PKG/init/bash"
        yield Lack("there are no environment modules on this machine", mend)
    elif not Path(init).is_file():
        yield Lack(f"runtime.module_init={init}: no such file", "name the file that defines the shell function module")


def _of_apptainer(runtime: RuntimeConfig, environment: Mapping[str, str]) -> Iterator[Lack]:
    if shutil.which(runtime.program, path=environment.get("PATH")) is None:
        mend = "module load it in your shell, or runtime.program=/path/to/apptainer; singularity will do, too"
        yield Lack(f"{runtime.program} is not on the PATH", mend)
    yield from _of_image(runtime)


def _of_pyxis(runtime: RuntimeConfig, environment: Mapping[str, str]) -> Iterator[Lack]:
    if not environment.get("SLURM_JOB_ID"):
        yield Lack(
            "runtime.kind=pyxis runs by srun inside a job of Slurm, and this is none",
            "submit=slurm, --multirun hydra/launcher=slurm, or salloc before",
        )
    elif not environment.get("SLURMD_NODENAME"):
        yield Lack(
            f"this is not a node of job {environment['SLURM_JOB_ID']}, so that the server would run elsewhere",
            "submit=slurm, or srun --pty bash in the job before",
        )
    elif shutil.which("srun", path=environment.get("PATH")) is None:
        yield Lack("srun is not on the PATH", "module load slurm in your shell")
    if str(runtime.image).startswith("/"):
        yield from _of_image(runtime)


def _of_image(runtime: RuntimeConfig) -> Iterator[Lack]:
    image = Path(str(runtime.image))
    if not image.exists():
        yield Lack(f"runtime.image={image}: no such file", "name it by its whole path, or make it: docs/runtimes.md")


def _of_mounts(runtime: RuntimeConfig) -> Iterator[Lack]:
    for mount in named_mounts(runtime):
        if not Path(mount.source).exists():
            yield Lack(f"runtime.mounts: {mount.source} is not here", f"mkdir {mount.source}, or take it out")


def identity(runtime: RuntimeConfig) -> str:
    """Return what changes when the vLLM inside does, as far as the host can tell: the image with size and time."""
    words = [runtime.kind, runtime.interpreter, *runtime.modules, str(runtime.image)]
    image = Path(str(runtime.image))
    if runtime.image is not None and image.exists():
        status = image.stat()
        words += [str(image.resolve()), str(status.st_size), str(status.st_mtime_ns)]
    return "\n".join(words)
