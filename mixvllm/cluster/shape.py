"""What a job takes of the cluster: nodes, GPUs, cores, memory and time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine import GIB
from mixvllm.machine.memory import read_model_files
from mixvllm.machine.preflight.weights import model_folder
from mixvllm.vllm.installation import is_cpu_build

_STEPS_MIN = (30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 10080)
"""Times that jobs ask for, so that groups which differ by a few minutes are one array."""
_SERVING_MIN = 480  # of a server that serves until it is stopped; it goes on in its next job
_REPEAT_S = 600.0  # of a repeat whose length nobody can tell before; one that is longer is not lost, but repeated
_BASE_CORES = 4  # vLLM's API server and engine, the load generator, and this program
_CORES_PER_GPU = 2  # a worker, and what it starts
_BASE_MEMORY_GIB = 16  # the same, and compiled code
_MEMORY_STEP_GIB = 16


@dataclass(frozen=True)
class JobShape:
    """What one job takes; jobs of one shape are one array.

    Args:
        num_nodes: machines.
        gpus_per_node: 0 where the engine runs on the CPU.
        cpus_per_task: cores of each node.
        mem_gb: of each node; None = what the cluster gives.
        timeout_min: minutes.
    """

    num_nodes: int
    gpus_per_node: int
    cpus_per_task: int
    mem_gb: float | None
    timeout_min: int


def shape_of_record(
    record: Mapping[str, Any], options: SlurmLauncherConfig, environment: Mapping[str, str], *, num_repeats: int
) -> JobShape:
    """Return what a job takes that runs a frozen point; see `shape_of`.

    Args:
        record: of the point.
    """
    config = ExperimentConfig.model_validate(record["config"])
    is_cpu = is_cpu_build(record["versions"])
    return shape_of(config, options, environment, num_repeats=num_repeats, is_cpu=is_cpu)


def shape_of(
    config: ExperimentConfig,
    options: SlurmLauncherConfig,
    environment: Mapping[str, str],
    *,
    num_repeats: int,
    is_cpu: bool,
) -> JobShape:
    """Return what a job takes that starts the server of `config` and measures on it.

    Args:
        config: validated.
        options: win where they are not `auto`.
        environment: of this process; tells where models are kept.
        num_repeats: measurements of the job.
        is_cpu: whether the engine runs on the CPU.
    """
    num_nodes = _num_nodes(config, options)
    needed = 0 if is_cpu else config.num_gpus // num_nodes
    return JobShape(
        num_nodes=num_nodes,
        gpus_per_node=_gpus_per_node(config, options, needed, num_nodes),
        cpus_per_task=_cores(config, options, num_nodes),
        mem_gb=_memory_gb(config, environment, num_nodes) if options.mem_gb == "auto" else options.mem_gb,
        timeout_min=_timeout_min(config, num_repeats) if options.timeout_min == "auto" else options.timeout_min,
    )


def _num_nodes(config: ExperimentConfig, options: SlurmLauncherConfig) -> int:
    """Return the nodes of a server: its own number, or as many as hold its replicas with the GPUs that each has."""
    of_each = options.gpus_per_node
    if config.server.replicas == 1 or isinstance(of_each, str) or of_each == 0:
        return config.inference.nnodes
    num_nodes = max(1, config.num_gpus // of_each)
    return num_nodes if config.server.replicas % num_nodes == 0 else 1


def _gpus_per_node(config: ExperimentConfig, options: SlurmLauncherConfig, needed: int, num_nodes: int) -> int:
    """Return the GPUs of each node; 0 leaves them to other options, such as `exclusive`."""
    asked = needed if options.gpus_per_node == "auto" else options.gpus_per_node
    if asked in (0, needed):
        return asked
    takes = f"a server of {config.num_gpus} GPUs on {num_nodes} nodes takes {needed} of each"
    if asked > needed:
        words = f"would leave {asked - needed} GPUs of each node idle: {takes}"
    else:
        words = f"is too few: {takes}; inference.nnodes=NUMBER spreads it over more"
    raise ConfigError([Fault("hydra.launcher.gpus_per_node", words, str(asked))])


def _cores(config: ExperimentConfig, options: SlurmLauncherConfig, num_nodes: int) -> int:
    if options.cpus_per_task != "auto":
        return options.cpus_per_task
    return _BASE_CORES + _CORES_PER_GPU * config.num_gpus // num_nodes


def _memory_gb(config: ExperimentConfig, environment: Mapping[str, str], num_nodes: int) -> float | None:
    """Return room for the weights on their way to the GPUs, or for good on a CPU; None where their size is unknown."""
    weights_gib = _weights_gib(config, environment)
    if weights_gib is None:
        return None
    of_node = 1.25 * weights_gib * config.server.replicas / num_nodes
    return float(ceil((_BASE_MEMORY_GIB + of_node) / _MEMORY_STEP_GIB) * _MEMORY_STEP_GIB)


def _weights_gib(config: ExperimentConfig, environment: Mapping[str, str]) -> float | None:
    """Return the size of all weights, from the model's files where they are here, else as the catalogue says."""
    folder = model_folder(config, environment)
    if folder is None:
        return config.model.weights_gib
    try:
        size = read_model_files(folder).total_size
    except (OSError, ValueError):  # the preflight says so, where the server is started
        size = None
    return size / GIB if size is not None else config.model.weights_gib


def _timeout_min(config: ExperimentConfig, num_repeats: int) -> int:
    if config.workload.kind == "serve":
        return _SERVING_MIN
    needed_s = config.server.ready_timeout_s + num_repeats * _repeat_s(config)
    needed_min = ceil(needed_s / 60)
    return _STEPS_MIN[min(bisect_left(_STEPS_MIN, needed_min), len(_STEPS_MIN) - 1)]


def _repeat_s(config: ExperimentConfig) -> float:
    limit_s = config.workload.timeout_s
    return _REPEAT_S if limit_s is None else min(_REPEAT_S, limit_s)
