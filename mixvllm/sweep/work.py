"""What a launcher hands out: a group of points on one server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """A group that is to be run.

    Args:
        server_key: of its server.
        num_gpus: that the server takes; 0 where it runs on the CPU.
        repeats: content hash and number of each, in order; those of one point follow each other.
        number: of its first point, as the results have it.
        is_warm: whether the server is to be forked from an interpreter that has imported vLLM.
        num_nodes: that the server spans.
    """

    server_key: str
    num_gpus: int
    repeats: tuple[tuple[str, int], ...]
    number: int = 0
    is_warm: bool = False
    num_nodes: int = 1
