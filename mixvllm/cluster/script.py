"""The script that sbatch gets: written by submitit, from a shape and the options of the launcher."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from mixvllm.cluster.array_folder import ArrayFolder
from mixvllm.cluster.shape import JobShape
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine.program import module_argv

_SAME_NAME = (
    *("partition", "account", "qos", "constraint", "nodelist", "exclude", "dependency"),
    *("comment", "mail_user", "mail_type"),
)
_ONLY_GPU = re.compile(r"gpu(:[A-Za-z][^:,=]*)?")


def script_text(
    folder: ArrayFolder, shape: JobShape, num_elements: int, options: SlurmLauncherConfig, name: str
) -> str:
    """Return the script of an array. Pure: nothing is written, and no cluster asked.

    Args:
        folder: of the array; what the jobs print goes there.
        shape: of each job.
        num_elements: of the array.
        options: of the launcher.
        name: of the jobs, where the options give none.

    Raises:
        ConfigError: submitit is not installed.
    """
    make = _submitit()
    text: str = make(
        command=shlex.join(module_argv("mixvllm.cluster.element", str(folder.path))),
        folder=folder.path,
        map_count=num_elements,
        **_resources(shape, options),
        **{key: getattr(options, key) for key in _SAME_NAME},
        job_name=options.job_name or name,
        exclusive=options.exclusive or None,
        array_parallelism=options.array_parallelism,
        signal_delay_s=options.signal_delay_s,
        wckey=options.wckey,
        stderr_to_stdout=True,
        setup=[*(f"module load {shlex.quote(module)}" for module in options.modules), *options.setup] or None,
        teardown=_teardown(options),
        srun_args=list(_srun_args(shape, options)),
        additional_parameters=_additional(options),
    )
    return text


def _submitit() -> Any:
    try:
        # Private, and alone in needing neither a cluster nor pickles; a test holds its text against a recorded one.
        from submitit.slurm.slurm import _make_sbatch_string
    except ImportError:
        words = "needs submitit: pip install 'mixvllm[slurm]'"
        raise ConfigError([Fault("hydra/launcher", words, "slurm")]) from None
    return _make_sbatch_string


def _resources(shape: JobShape, options: SlurmLauncherConfig) -> dict[str, Any]:
    return {
        "time": shape.timeout_min,
        "nodes": shape.num_nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": shape.cpus_per_task,
        "mem": None if shape.mem_gb is None else f"{round(1024 * shape.mem_gb)}M",
        **_gpus(shape.gpus_per_node, options),
    }


def _gpus(number: int, options: SlurmLauncherConfig) -> dict[str, Any]:
    """Return how the GPUs are asked for; `gres` may hold other things beside them."""
    if options.gres is not None:
        parts = [f"{part}:{number}" if _ONLY_GPU.fullmatch(part) else part for part in options.gres.split(",")]
        has_gpus = any(part.partition(":")[0] == "gpu" for part in parts)
        return {"gres": ",".join(parts)} | ({} if has_gpus else _plain_gpus(number, options))
    return _plain_gpus(number, options)


def _plain_gpus(number: int, options: SlurmLauncherConfig) -> dict[str, Any]:
    if number == 0:
        return {}
    return {"gpus_per_node": f"{options.gpu_type}:{number}" if options.gpu_type else number}


def _srun_args(shape: JobShape, options: SlurmLauncherConfig) -> Iterator[str]:
    """Yield what a step does not take over from its job by itself.

    srun does not give a step the job's cores since Slurm 22.05, and starts a log anew when a job is requeued.
    """
    yield f"--cpus-per-task={shape.cpus_per_task}"
    yield "--open-mode=append"
    if shape.num_nodes > 1:  # the first node's program starts what runs on the others
        yield from ("--nodes=1", "--ntasks=1")
    yield from options.srun_args


def _teardown(options: SlurmLauncherConfig) -> list[str] | None:
    """Return the lines after the job, which do not change how it ended."""
    return ["status=$?", *options.teardown, 'exit "$status"'] if options.teardown else None


def _additional(options: SlurmLauncherConfig) -> dict[str, Any]:
    own: dict[str, Any] = {} if options.additional_parameters.get("no_requeue") else {"requeue": True}
    if options.reservation is not None:
        own["reservation"] = options.reservation
    given = {name.replace("_", "-"): value for name, value in options.additional_parameters.items()}
    return own | {name: value for name, value in given.items() if value is not False}
