"""What a sweep will do: its points, grouped by the server they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mixvllm.config.schema.sweep import SweepConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.sweep.faults import SharedFault, words_of
from mixvllm.sweep.text_table import counted


@dataclass(frozen=True)
class Shape:
    """What a server takes of a machine.

    Args:
        num_nodes: machines.
        num_gpus: on all of them together; 0 where it runs on the CPU.
    """

    num_nodes: int
    num_gpus: int


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """One point of a sweep, without its configuration, which is in its file.

    Args:
        index: its number, from 0, in the order of the command line.
        labels: the swept keys with their values.
        overrides: as Hydra's sweeper gives them to it, shape (n,).
        content_hash: what is asked for.
        server_key: what server it takes.
        model: name of its weights.
        shape: of its server.
        num_repeats: how often it is measured.
        runtime: kind of what its server is wrapped in.
    """

    index: int
    labels: dict[str, Any]
    overrides: tuple[str, ...]
    content_hash: str
    server_key: str
    model: str
    shape: Shape
    num_repeats: int
    runtime: str = "local"


@dataclass(frozen=True)
class Group:
    """The points that share a server, in the order in which it measures them."""

    points: tuple[PlannedPoint, ...]

    @property
    def server_key(self) -> str:
        """Of the server."""
        return self.points[0].server_key

    @property
    def shape(self) -> Shape:
        """Of the server."""
        return self.points[0].shape


@dataclass(frozen=True)
class Plan:
    """What a sweep will do.

    Args:
        points: in the order of the command line, each content once.
        groups: in the order in which they are started; those of one model follow each other, while its weights are
            still in memory.
        swept: the keys that vary.
        settings: the section `sweep`.
        output_dir: of all points.
        num_candidates: points of the grid, with those that are left out.
        num_left_out: points where `sweep.where` is not true.
        merged: points that ask for the same as an earlier one, each with that one; the first few.
        num_merged: how many there are.
        faults: of the points that are not valid.
        num_invalid: how many there are.
        hydra: overrides for Hydra itself.
    """

    points: tuple[PlannedPoint, ...]
    groups: tuple[Group, ...]
    swept: tuple[str, ...]
    settings: SweepConfig
    output_dir: str
    num_candidates: int
    num_left_out: int = 0
    merged: tuple[str, ...] = ()
    num_merged: int = 0
    faults: tuple[SharedFault, ...] = ()
    num_invalid: int = 0
    hydra: tuple[str, ...] = ()

    @property
    def num_servers(self) -> int:
        """How many servers are started."""
        return len(self.groups)

    @property
    def num_starts_saved(self) -> int:
        """How many starts a server for each point would take beside them."""
        return len(self.points) - len(self.groups)

    def check(self) -> None:
        """Return where the sweep may start.

        Raises:
            ConfigError: points are not valid, and `sweep.on_invalid` does not say to leave them out; or none is left.
        """
        if self.faults and (self.settings.on_invalid == "refuse" or not self.points):
            others = counted(len(self.points), "point")
            words = f"nothing was started; sweep.on_invalid=skip would start the other {others}"
            rest = [Fault("", words)] if self.points else []
            raise ConfigError([*words_of(self.faults, self.num_candidates), *rest])
        if not self.points:
            where = self.settings.where
            raise ConfigError([Fault("sweep.where", f"is true of none of {self.num_candidates:,} points", where)])


def groups_of(points: Iterable[PlannedPoint]) -> list[Group]:
    """Return `points` by their servers, in the order of the first point of each."""
    by_server: dict[str, list[PlannedPoint]] = {}
    for point in points:
        by_server.setdefault(point.server_key, []).append(point)
    return [Group(tuple(members)) for members in by_server.values()]
