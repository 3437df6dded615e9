"""One server over several nodes of a job: a front end and its engine on the first, headless engines on the others."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import PreflightFailed
from mixvllm.machine.nodes import num_allocated_nodes
from mixvllm.machine.program import module_argv

_ONLY_FRONT_END = ("--api-server-count",)
"""Arguments of the front end that a headless engine refuses."""


@dataclass(frozen=True)
class Span:
    """A server that takes more than one node.

    Args:
        argv: of vLLM, as it is for a single node but for `--nnodes`; program first.
        num_nodes: that it takes.
        num_replicas: of the model, its data parallel size.
        interface: by which the nodes reach each other, see `own_address`.
        tmp: the launcher's folder for temporary files, where it is written which ports are taken.
    """

    argv: tuple[str, ...]
    num_nodes: int
    num_replicas: int
    interface: str | None
    tmp: str

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Return the span that `text` holds, as `text` wrote it."""
        values = json.loads(text)
        return cls(**values | {"argv": tuple(values["argv"])})

    @property
    def text(self) -> str:
        """This, in one line."""
        return json.dumps(asdict(self))

    def argv_of(self, rank: int, meeting: Sequence[str]) -> list[str]:
        """Return the command of the node `rank`, counted from 0.

        Args:
            meeting: the arguments that say where its engines meet the others'.
        """
        argv = list(self.argv) if rank == 0 else list(_without(self.argv, _ONLY_FRONT_END))
        return [*argv, *meeting, "--node-rank", str(rank), *(["--headless"] if rank else [])]


def spanning_argv(argv: Sequence[str], config: ServeConfig, environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs the server `argv` on as many nodes of this job as `config` says.

    Raises:
        PreflightFailed: this process has not got them.
    """
    num_nodes = config.inference.nnodes
    allocated = num_allocated_nodes(environment)
    if allocated < num_nodes:
        has = f"a job on {allocated} is here" if environment.get("SLURM_JOB_ID") else "this is no job of a cluster"
        words = f"inference.nnodes={num_nodes}: the server takes {num_nodes} nodes, and {has}"
        raise PreflightFailed(f"{words}\n  next: submit=slurm, or --multirun hydra/launcher=slurm")
    num_replicas, interface = config.inference.data_parallel_size, config.server.interface
    span = Span(tuple(argv), num_nodes, num_replicas, interface, tempfile.gettempdir())
    return module_argv("mixvllm.server.nodes.step", span.text)


def node_environment(address: str, interface: str | None) -> dict[str, str]:
    """Return what engines get that are to meet over `address`, which `interface` has where that is known."""
    named = {name: interface for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if interface is not None}
    return {"VLLM_HOST_IP": address, **named}


def host_words() -> str:
    """Return the name of this machine for a line of the log."""
    return socket.gethostname()


def _without(argv: Iterable[str], flags: Sequence[str]) -> Iterable[str]:
    """Yield `argv` without `flags`, each of which has one value, apart or behind an equals sign."""
    is_value = False
    for word in argv:
        if is_value:
            is_value = False
        elif word in flags:
            is_value = True
        elif not word.startswith(tuple(f"{flag}=" for flag in flags)):
            yield word
