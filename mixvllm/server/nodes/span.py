"""What the leader of a server on several nodes is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixvllm.server.nodes.message import Message
from mixvllm.server.nodes.others import RANK

_ONLY_FRONT_END = ("--api-server-count",)
"""Arguments of the front end that a headless engine refuses."""


@dataclass(frozen=True)
class Span(Message):
    """A server that takes more than one node.

    By vLLM's own mode for several nodes its engines find each other; with Ray they are started by it, once its
    processes run on all nodes.

    Args:
        argv: of vLLM, as it is for a single node but for `--nnodes`; program first.
        num_nodes: that it takes.
        num_replicas: of the model, its data parallel size.
        interface: by which the nodes reach each other, see `own_address`.
        uses_ray: whether Ray runs the workers.
        wrapper: what each command is wrapped in, see `Wrapper.record`.
    """

    argv: tuple[str, ...]
    num_nodes: int
    num_replicas: int
    interface: str | None
    uses_ray: bool = False
    wrapper: dict[str, Any] = field(default_factory=dict)

    def ray_argv(self, *options: str) -> list[str]:
        """Return the command that runs Ray's processes of a node until it is ended, in the interpreter of vLLM."""
        program = [self.argv[0], "-m", "ray.scripts.scripts", "start"]
        return [*program, *options, "--disable-usage-stats", "--block"]

    @property
    def argv_without_nodes(self) -> list[str]:
        """The command of a front end that Ray tells which nodes there are; vLLM takes no number of them beside it."""
        return list(_without(self.argv, ["--nnodes"]))

    def front_end_argv(self, meeting: Sequence[str]) -> list[str]:
        """Return the command of the first node.

        Args:
            meeting: the arguments that say where the engines of all nodes meet.
        """
        return [*self.argv, *meeting, "--node-rank", "0"]

    def headless_argv(self, meeting: Sequence[str]) -> list[str]:
        """Return the command of any other node, to which its rank is added."""
        return [*_without(self.argv, _ONLY_FRONT_END), *meeting, "--headless", "--node-rank", RANK]


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
