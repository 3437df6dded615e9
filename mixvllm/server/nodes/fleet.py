"""What the leader of several servers behind a router is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mixvllm.runtime.caches import engine_cache
from mixvllm.server.nodes.message import Message

_PORTS_PER_REPLICA = 16


@dataclass(frozen=True)
class Fleet(Message):
    """Replicas of one server, and the router in front of them.

    Args:
        argv: of one of them; program first.
        router: its command without the addresses of its servers; empty on nodes that have none.
        urls_file: where the addresses are written; empty where the router is not.
        num_here: how many run on each node.
        num_nodes: of all.
        num_gpus: of each replica; 0 where they run on the CPU.
        drain_s: seconds that requests in flight get at a stop.
        interface: by which the nodes reach each other, see `own_address`.
        wrapper: what each replica is wrapped in, see `Wrapper.record`.
    """

    argv: tuple[str, ...]
    router: tuple[str, ...]
    urls_file: str
    num_here: int
    num_nodes: int
    num_gpus: int
    drain_s: float
    interface: str | None
    wrapper: dict[str, Any] = field(default_factory=dict)

    @property
    def elsewhere(self) -> Self:
        """What the other nodes run."""
        return replace(self, router=(), urls_file="")

    def environment_of(self, index: int, environment: Mapping[str, str]) -> dict[str, str]:
        """Return what the replica `index` of this node gets over `environment`: its share of the node.

        Replicas that start at once do not share a cache of compiled code.
        """
        own: dict[str, str] = {}
        if self.num_gpus:
            listed = environment.get("CUDA_VISIBLE_DEVICES")
            names = listed.split(",") if listed else [str(at) for at in range(self.num_here * self.num_gpus)]
            own["CUDA_VISIBLE_DEVICES"] = ",".join(names[index * self.num_gpus : (index + 1) * self.num_gpus])
        elif environment.get("OMP_NUM_THREADS", "").isdecimal():
            own["OMP_NUM_THREADS"] = str(max(1, int(environment["OMP_NUM_THREADS"]) // self.num_here))
        if environment.get("VLLM_PORT", "").isdecimal():
            own["VLLM_PORT"] = str(int(environment["VLLM_PORT"]) + index * _PORTS_PER_REPLICA)
        if index:
            own["VLLM_CACHE_ROOT"] = str(engine_cache(environment) / f"replica-{index}")
        return own
