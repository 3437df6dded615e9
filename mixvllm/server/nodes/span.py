"""What the leader of a server on several nodes is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

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
    """

    argv: tuple[str, ...]
    num_nodes: int
    num_replicas: int
    interface: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the span that `text` holds."""
        values = json.loads(text)
        return cls(**values | {"argv": tuple(values["argv"])})

    @property
    def text(self) -> str:
        """This, in one line."""
        return json.dumps(asdict(self))

    def front_end_argv(self, meeting: Sequence[str]) -> list[str]:
        """Return the command of the first node.

        Args:
            meeting: the arguments that say where the engines of all nodes meet.
        """
        return [*self.argv, *meeting, "--node-rank", "0"]

    def headless_argv(self, meeting: Sequence[str]) -> list[str]:
        """Return the command of any other node, to which its rank is added."""
        return [*_without(self.argv, _ONLY_FRONT_END), *meeting, "--headless", "--node-rank"]


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
