"""The share of a node that a server gets, after a look whether it can run there."""

from __future__ import annotations

import os
from collections.abc import Callable

from mixvllm.cluster.job import ThisJob, slot_of
from mixvllm.errors import PreflightFailed
from mixvllm.machine.nodes import num_allocated_nodes
from mixvllm.machine.preflight import run_preflight
from mixvllm.runs.registry import host_name
from mixvllm.sweep.point import Point
from mixvllm.sweep.slots import Slot


def slot_for(point: Point, job: ThisJob, say: Callable[[str], None]) -> Slot:
    """Return what the server of `point` has for itself on this node.

    Args:
        point: frozen.
        job: that this process is.
        say: told what the node lacks.

    Raises:
        PreflightFailed: Slurm gave too little, or the node lacks something and `preflight` is strict.
    """
    is_cpu = point.installation.is_cpu
    slot = slot_of(job, 0 if is_cpu else point.config.num_gpus_on_each(num_allocated_nodes(os.environ)), os.environ)
    if point.config.preflight == "off":
        return slot
    checks = run_preflight(
        point.config,
        version=point.installation.version,
        is_cpu=is_cpu,
        python=point.installation.python,
        environment={
            **os.environ,
            **point.command.environment,
            **slot.environment(point.config.server.env, os.environ),
        },
    )
    for check in checks:
        if check.verdict != "ok":
            say(f"{host_name()}: {check.subject}: {check.finding}")
    errors = [check for check in checks if check.verdict == "error"]
    if errors and point.config.preflight == "strict":
        raise PreflightFailed(f"infeasible: {errors[0].subject}: {errors[0].finding}\n  next: {errors[0].mend}")
    return slot
