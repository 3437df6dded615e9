"""Which variables the engine in a container gets: those that vLLM and its libraries read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

OF_OUTER_STEP = ("SLURM_STEP", "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NNODES", "SLURM_CPU_BIND", "SLURM_DISTRIBUTION")
"""Beginnings of variables that tell of the step which a process is in, and that srun would take for its own options."""
_ENGINE = (
    *("VLLM_*", "HF_*", "HUGGING_FACE_HUB_TOKEN", "TOKENIZERS_PARALLELISM", "TMPDIR"),
    *(
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "CUDA_LAUNCH_BLOCKING",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
    ),
    *("NVIDIA_VISIBLE_DEVICES", "NCCL_*", "RCCL_*", "GLOO_*", "TORCH_*", "PYTORCH_*", "TORCHINDUCTOR_*", "TRITON_*"),
    *("OMP_*", "MKL_*", "KMP_*", "LMCACHE_*", "OTEL_*", "DO_NOT_TRACK", "PYTHONUNBUFFERED"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_OF_SRUN = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "SLURM*", "SRUN_*", "ENROOT_*", "PYXIS_*", "XDG_*")
"""What srun and enroot read. pyxis gives the engine all that srun has, where the image has no other value."""
_OF_OUTER_JOB = (*OF_OUTER_STEP, "SLURM_MEM_", "SLURM_TRES_")
_PREFIXES = {"singularity": "SINGULARITYENV_"}


def engine_variables(environment: Mapping[str, str], further: Iterable[str]) -> dict[str, str]:
    """Return the part of `environment` that goes into a container.

    Args:
        environment: of the engine, as it would be outside.
        further: names, or beginnings with a *, beside those that every engine reads.
    """
    return _chosen(environment, (*_ENGINE, *further))


def apptainer_environment(environment: Mapping[str, str], inside: Mapping[str, str], program: str) -> dict[str, str]:
    """Return the environment of `program`, which takes `inside` into the container under a name of its own.

    Source: "Environment and Metadata" of the manuals of Apptainer and SingularityCE.
    """
    prefix = apptainer_prefix(program)
    return {**environment, **{f"{prefix}{name}": value for name, value in inside.items()}}


def apptainer_prefix(program: str) -> str:
    """Return what stands before the name of a variable that `program` takes into the container."""
    return _PREFIXES.get(Path(program).name, "APPTAINERENV_")


def srun_environment(environment: Mapping[str, str], inside: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of srun: little beside `inside`, and nothing of the step that this process is in."""
    own = _chosen(environment, _OF_SRUN)
    return {**{name: value for name, value in own.items() if not name.startswith(_OF_OUTER_JOB)}, **inside}


def _chosen(environment: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    whole = {name for name in names if not name.endswith("*")}
    begun = tuple(name[:-1] for name in names if name.endswith("*"))
    return {name: value for name, value in environment.items() if name in whole or name.startswith(begun)}
