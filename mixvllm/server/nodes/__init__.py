"""Servers of several parts: one over several nodes of a job, or several, with a router in front of them.

The guardian starts one program for each, the leader, which starts the parts and ends when one of them does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import PreflightFailed
from mixvllm.machine.nodes import num_allocated_nodes
from mixvllm.machine.program import module_argv
from mixvllm.server.command import ServerCommand
from mixvllm.server.nodes.fleet import Fleet
from mixvllm.server.nodes.span import Span

_ROUTER_MODULE = "vllm_router.launch_router"


def has_parts(config: ServeConfig) -> bool:
    """Whether a server of `config` is more than one vLLM."""
    return config.inference.nnodes > 1 or config.server.replicas > 1


def leading_argv(
    command: ServerCommand,
    config: ServeConfig,
    environment: Mapping[str, str],
    *,
    port: int,
    replicas: Path,
    is_cpu: bool,
) -> list[str]:
    """Return the command of the leader that runs `command` as the parts that `config` says.

    Args:
        command: of one vLLM on one node; what it is wrapped in wraps each part.
        config: validated.
        environment: of the server.
        port: where clients are answered.
        replicas: the file that is to say where the replicas answer.
        is_cpu: whether they need no GPU.

    Raises:
        PreflightFailed: this process has too few nodes, or there is no router.
    """
    allocated = num_allocated_nodes(environment)
    if config.inference.nnodes > 1:
        return module_argv("mixvllm.server.nodes.spanning", _span(command, config, environment, allocated).text)
    num_nodes = config.num_nodes_of(allocated)
    _check_router(config, num_nodes)
    fleet = Fleet(
        argv=command.argv,
        router=tuple(_router_argv(config, port)),
        urls_file=str(replicas),
        num_here=config.server.replicas // num_nodes,
        num_nodes=num_nodes,
        num_gpus=0 if is_cpu else config.inference.num_gpus,
        drain_s=config.server.drain_timeout_s,
        interface=config.server.interface,
        wrapper=command.wrapper.record,
    )
    return module_argv("mixvllm.server.nodes.routing", fleet.text)


def _span(command: ServerCommand, config: ServeConfig, environment: Mapping[str, str], allocated: int) -> Span:
    num_nodes = config.inference.nnodes
    if allocated < num_nodes:
        has = f"a job on {allocated} is here" if environment.get("SLURM_JOB_ID") else "this is no job of a cluster"
        words = f"inference.nnodes={num_nodes}: the server takes {num_nodes} nodes, and {has}"
        raise PreflightFailed(f"{words}\n  next: submit=slurm, or --multirun hydra/launcher=slurm")
    return Span(
        argv=command.argv,
        num_nodes=num_nodes,
        num_replicas=config.inference.data_parallel_size,
        interface=config.server.interface,
        uses_ray=config.inference.distributed_executor_backend == "ray",
        wrapper=command.wrapper.record,
    )


def _check_router(config: ServeConfig, num_nodes: int) -> None:
    if find_spec("vllm_router") is None:
        words = f"server.replicas={config.server.replicas}: vLLM's router is not installed"
        raise PreflightFailed(f"{words}\n  next: pip install 'mixvllm[router]'")
    if num_nodes > 1 and config.server.key_source == "none":
        words = f"server.replicas={config.server.replicas} on {num_nodes} nodes: others can reach the replicas"
        raise PreflightFailed(f"{words}, so that they need a key\n  next: server.api_key=generate")


def _router_argv(config: ServeConfig, port: int) -> list[str]:
    """Return the router's command, to which the addresses of its servers are added.

    It repeats no request: one that failed is to be seen, and one that was measured is to have been one. The router
    waits for its servers, and answers once all of them do.
    """
    policy = config.server.router_policy
    return [
        *(sys.executable, "-m", _ROUTER_MODULE),
        *("--host", config.server.host, "--port", str(port)),
        *([] if policy is None else ["--policy", policy]),
        *("--worker-startup-timeout-secs", str(int(config.server.ready_timeout_s) + 1)),
        *("--worker-startup-check-interval", "1", "--health-check-interval-secs", "5"),
        *("--disable-retries", "--request-timeout-secs", "86400", "--log-level", "warning"),
    ]
