"""From the command line of a sweep to its points: composed, validated, frozen, and grouped by the server they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from mixvllm.config.load.plan import Candidate, OpenGrid, open_grid
from mixvllm.config.schema import ExperimentConfig, ServeConfig
from mixvllm.errors import ConfigError, EngineNotFound, Fault
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.faults import SharedFaults, shown_labels
from mixvllm.sweep.plan import Group, Plan, PlannedPoint, Shape, groups_of
from mixvllm.sweep.point import Freezer, Point, Surroundings, look_around
from mixvllm.sweep.where import Where, parse_where
from mixvllm.vllm.installation import Installation, installation_of

_MAX_MERGED = 5


def make_plan(
    overrides: Sequence[str],
    config_dirs: Sequence[str | Path] = (),
    *,
    draft: Draft | None = None,
    say: Callable[[str], None] = lambda _line: None,
    find: Callable[[ServeConfig], Installation] = installation_of,
) -> Plan:
    """Return the points that `overrides` span, in Hydra's sweep syntax; nothing is started or written.

    Args:
        overrides: as typed, shape (n,).
        config_dirs: the user's own folders.
        draft: takes the frozen points; None where they are only shown.
        say: told what takes long.
        find: returns the vLLM that serves a configuration.

    Raises:
        ConfigError: what holds for all points is wrong. Faults of single points are in the plan; see `Plan.check`.
    """
    with open_grid(overrides, config_dirs) as opened:
        planner = _Planner(opened, Freezer(say, find), draft)
        for candidate in opened.candidates():
            planner.take(candidate)
        return planner.plan()


@dataclass
class _Planner:
    opened: OpenGrid
    freezer: Freezer
    draft: Draft | None
    points: dict[str, PlannedPoint] = field(default_factory=dict)
    faults: SharedFaults = field(default_factory=SharedFaults)
    merged: list[str] = field(default_factory=list)
    num_seen: int = 0
    num_left_out: int = 0
    num_merged: int = 0
    num_invalid: int = 0
    output_dir: str = ""

    def __post_init__(self) -> None:
        self.where = self._where()
        self.around: Surroundings | None = None

    def _where(self) -> Where | None:
        text = self.opened.settings.where
        try:
            return None if text is None else parse_where(text, self.opened.grid.swept)
        except ConfigError as error:
            raise ConfigError(self.opened.with_origin(fault) for fault in error.faults) from error

    def take(self, candidate: Candidate) -> None:
        """Put one point of the grid where it belongs."""
        index, self.num_seen = self.num_seen, self.num_seen + 1
        try:
            if self._is_left_out(candidate):
                self.num_left_out += 1
            elif candidate.config is None:
                self._refuse(candidate, candidate.faults)
            else:
                self._keep(candidate, index, self._freeze(candidate.config, candidate.overrides))
        except ConfigError as error:
            self._refuse(candidate, error.faults)

    def _is_left_out(self, candidate: Candidate) -> bool:
        if self.where is None or candidate.values is None:
            return False
        values = candidate.values if candidate.config is None else candidate.config.model_dump()
        try:
            return not self.where.holds(values, candidate.labels)
        except (ConfigError, TypeError):
            if candidate.config is None:
                return False  # its own faults say more
            raise

    def _freeze(self, config: ExperimentConfig, overrides: tuple[str, ...]) -> Point:
        if config.workload.kind == "serve":
            words = "serves until it is told to stop, so the sweep would never go on: workload=bench or workload=probe"
            raise ConfigError([Fault("workload.kind", words, "serve")])
        try:
            return self.freezer.freeze(config, overrides)
        except EngineNotFound as error:
            kind = config.runtime.kind
            key, value = ("server.python", config.server.python) if kind == "local" else ("runtime.kind", kind)
            raise ConfigError([Fault(key, str(error), value)]) from error

    def _keep(self, candidate: Candidate, index: int, point: Point) -> None:
        config, content_hash = point.config, point.content_hash
        earlier = self.points.get(content_hash)
        if earlier is not None:
            self.num_merged += 1
            if self.num_merged <= _MAX_MERGED:
                self.merged.append(_same(candidate.labels, earlier.labels))
            return
        self.output_dir = self.output_dir or config.output_dir
        self.points[content_hash] = PlannedPoint(
            index,
            candidate.labels,
            candidate.overrides,
            content_hash,
            point.server_key,
            config.model.name,
            _shape(config.inference.nnodes, point.num_gpus),
            getattr(config.workload, "repeats", 1),
            config.runtime.kind,
        )
        self._write(point, candidate.labels)

    def _write(self, point: Point, labels: dict[str, Any]) -> None:
        if self.draft is None:
            return
        if self.around is None:
            around = look_around()
            commit = {"commit": around.git["commit"]} if around.git else None  # sweep.json has the rest, once
            self.around = replace(around, git=commit)
        self.draft.add({**point.record(self.around), "labels": labels})

    def _refuse(self, candidate: Candidate, faults: Iterable[Fault]) -> None:
        self.num_invalid += 1
        for fault in dict.fromkeys(faults):
            self.faults.add(fault, candidate)

    def plan(self) -> Plan:
        """Return what was found."""
        points = tuple(self.points.values())
        return Plan(
            points,
            _by_model(points),
            self.opened.grid.swept,
            self.opened.settings,
            self.output_dir,
            self.num_seen,
            self.num_left_out,
            tuple(self.merged),
            self.num_merged,
            self.faults.ordered(self.opened.with_origin),
            self.num_invalid,
            self.opened.grid.hydra,
        )


def _same(labels: dict[str, Any], earlier: dict[str, Any]) -> str:
    if labels == earlier:
        return f"{shown_labels(labels)} is given twice"
    return f"{shown_labels(labels)} is the same as {shown_labels(earlier)}"


def _by_model(points: Sequence[PlannedPoint]) -> tuple[Group, ...]:
    first_of: dict[str, int] = {}
    for point in points:
        first_of.setdefault(point.model, point.index)
    return tuple(sorted(groups_of(points), key=lambda group: first_of[group.points[0].model]))


@cache
def _shape(num_nodes: int, num_gpus: int) -> Shape:
    return Shape(num_nodes, num_gpus)
