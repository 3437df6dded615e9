"""What the servers of sweeps share on one machine: its GPUs, or its cores, and ports; each server has its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mixvllm.machine.gpu_locks import Claims
from mixvllm.runtime.caches import engine_cache

FIRST_INTERNAL_PORT = 20000
"""Where the ports begin that vLLM's processes use among themselves (`VLLM_PORT`): below the ephemeral range."""
PORTS_PER_SLOT = 100
MAX_SLOTS = 120


@dataclass(frozen=True)
class Slot:
    """What one server has for itself.

    Args:
        index: no other slot of this user on this machine has it meanwhile; from 0.
        gpus: as `CUDA_VISIBLE_DEVICES` names them; none on a machine without.
        cores: that its processes may use; none = all.
    """

    index: int
    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()

    def environment(self, configured: Mapping[str, object], inherited: Mapping[str, str]) -> dict[str, str]:
        """Return what a server in this slot gets over its own environment.

        Servers that start at once do not share a cache of compiled code, which they would write at the same time; the
        first slot has the one that a run by itself has.

        Args:
            configured: `server.env`, which wins; a cache is made below the one it names.
            inherited: of this process.
        """
        variables = {"VLLM_PORT": str(FIRST_INTERNAL_PORT + self.index * PORTS_PER_SLOT)}
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        if self.cores:
            variables["OMP_NUM_THREADS"] = str(len(self.cores))
        own = {name: value for name, value in variables.items() if name not in configured}
        return own | ({"VLLM_CACHE_ROOT": str(self._cache(configured, inherited))} if self.index else {})

    def _cache(self, configured: Mapping[str, object], inherited: Mapping[str, str]) -> Path:
        named = configured.get("VLLM_CACHE_ROOT")
        root = Path(str(named)).expanduser() if named else engine_cache(inherited)
        return root / f"slot-{self.index}"


class Slots:
    """Gives slots out, and takes them back. Not for several threads.

    A GPU in a slot is not in one of another launcher of this user: its servers would share the GPU's memory, and each
    would measure the other.

    Args:
        gpus: all that may be used, shape (n,); none where servers run on cores.
        num_core_slots: how many servers share the cores; used where there are no GPUs.
        cores: all that may be used; None = those of this process.
    """

    def __init__(self, gpus: Sequence[str], num_core_slots: int = 1, cores: Sequence[int] | None = None) -> None:
        self._gpus = list(gpus)
        self._free_gpus = list(gpus)
        self._free_cores = [] if gpus else _shares(sorted(cores or os.sched_getaffinity(0)), num_core_slots)
        self._claims = Claims()
        self.capacity = len(self._gpus) or len(self._free_cores)
        """How many GPUs, or shares of the cores, there are."""

    @property
    def gpus(self) -> tuple[str, ...]:
        """All GPUs that may be used."""
        return tuple(self._gpus)

    def num_at_once(self, num_gpus: int) -> int:
        """Return how many servers on `num_gpus` GPUs each may run at once; one on the CPU takes the place of a GPU."""
        return self.capacity // max(1, num_gpus) if self._gpus else self.capacity

    def take(self, num_gpus: int) -> Slot | None:
        """Return a slot for a server on `num_gpus` GPUs (or one share of the cores); None where none is free."""
        if not self._gpus:
            return self._take_cores()
        num_gpus = max(1, num_gpus)
        mine: list[str] = []
        for gpu in self._free_gpus:
            if len(mine) < num_gpus and self._claims.take(_of_gpu(gpu)):
                mine.append(gpu)
        index = self._take_index() if len(mine) == num_gpus else None
        if index is None:
            for gpu in mine:
                self._claims.give_back(_of_gpu(gpu))
            return None
        self._free_gpus = [gpu for gpu in self._free_gpus if gpu not in mine]
        return Slot(index, gpus=tuple(mine))

    def _take_cores(self) -> Slot | None:
        index = self._take_index() if self._free_cores else None
        return None if index is None else Slot(index, cores=self._free_cores.pop(0))

    def _take_index(self) -> int | None:
        return next((index for index in range(MAX_SLOTS) if self._claims.take(_of_index(index))), None)

    def give_back(self, slot: Slot) -> None:
        """Let others have what `slot` has."""
        self._claims.give_back(_of_index(slot.index))
        for gpu in slot.gpus:
            self._claims.give_back(_of_gpu(gpu))
        if self._gpus:
            self._free_gpus = sorted([*self._free_gpus, *slot.gpus], key=self._gpus.index)
        else:
            self._free_cores.append(slot.cores)


def gpu_names(listed: str | None, num_gpus_of_machine: Callable[[], int]) -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them, shape (n,).

    Args:
        listed: the value of that variable; None where it is not set.
        num_gpus_of_machine: asked then alone.
    """
    if listed is None:
        return [str(index) for index in range(num_gpus_of_machine())]
    names = [name.strip() for name in listed.split(",")]
    usable = names[: names.index("-1")] if "-1" in names else names  # CUDA sees none from the first invalid one on
    return [name for name in usable if name]


def _of_gpu(gpu: str) -> str:
    return f"gpu-{gpu}"


def _of_index(index: int) -> str:
    return f"sweep-slot-{index}"


def _shares(cores: Sequence[int], num_shares: int) -> list[tuple[int, ...]]:
    """Return disjoint shares of `cores`; where there are fewer cores than shares, every share has all of them."""
    if num_shares <= 1 or num_shares > len(cores):
        return [()] * max(num_shares, 1)
    size, rest = divmod(len(cores), num_shares)
    bounds = [index * size + min(index, rest) for index in range(num_shares + 1)]
    return [tuple(cores[begin:end]) for begin, end in pairwise(bounds)]
