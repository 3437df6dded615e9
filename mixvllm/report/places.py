"""What a point ran on, and what started it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from mixvllm.report.fields import count_in, mapping_in
from mixvllm.vllm.installation import is_cpu_build

PARALLEL_SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def num_gpus_of(shape: Mapping[str, Any], frozen: Mapping[str, Any]) -> int | None:
    """Return the GPUs that a server takes, on all nodes; None where it is not known.

    Args:
        shape: of the plan; may be empty.
        frozen: the content of `point.json`, whose parallel sizes count where nothing else tells.
    """
    if is_cpu_build(mapping_in(frozen, "versions")):
        return 0
    for record in (shape, mapping_in(frozen, "resources")):
        count = count_in(record, "num_gpus")
        if count is not None:
            return count
    config = mapping_in(frozen, "config")
    inference = mapping_in(config, "inference")
    if not inference:
        return None
    product = count_in(mapping_in(config, "server"), "replicas") or 1
    for name in PARALLEL_SIZES:
        product *= count_in(inference, name) or 1
    return product


def program_of(launcher: Sequence[str], config_dirs: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the words that start a point, without its overrides, from the command that was typed.

    Args:
        launcher: interpreter, program and arguments, shape (n,).
        config_dirs: the user's own folders with options.
    """
    program = launcher[1] if len(launcher) > 1 else ""
    start = ("python", program) if PurePath(program).name == "launch.py" else ("mixvllm", "launch")
    return (*start, *(word for folder in config_dirs for word in ("--config-dir", folder)))
