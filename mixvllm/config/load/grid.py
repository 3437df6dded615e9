"""The grid of a sweep: overrides in Hydra's sweep syntax, and the points they make, in Hydra's order.

Hydra's own basic sweeper is the model: the same points, with the same overrides, in the same order. A test compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mixvllm.config.faults import shown_value
from mixvllm.config.load.overrides import COMMAND_LINE, check_overrides
from mixvllm.errors import ConfigError, Fault

MAX_POINTS = 100_000
"""More would be a mistake: a `range` with a zero too many."""

_ONE_FOR_ALL = ("output_dir", "detach", "submit", "dry_run", "preflight", "workload.repeats")
"""Keys that say how all points are started, written and repeated."""


@dataclass(frozen=True)
class Choice:
    """One value of one override.

    Args:
        text: as Hydra's sweeper gives it to a point.
        key: key or group, as written.
        label: the value, for tables; a list or a mapping as JSON.
        accepted: what Hydra may apply; None where `fault` says why not.
        sets: dotted key that it sets.
        fault: what is wrong with it.
    """

    text: str
    key: str
    label: str | int | float | bool | None
    accepted: Override | None
    sets: str = ""
    fault: Fault | None = None


@dataclass(frozen=True)
class Grid:
    """Overrides with their choices, and which of them vary together.

    Args:
        choices: of each override, in the order in which a point has them.
        axes: positions of the overrides that take their choices in step; the last axis varies fastest.
        hydra: overrides for Hydra itself, which no point has.
    """

    choices: tuple[tuple[Choice, ...], ...]
    axes: tuple[tuple[int, ...], ...]
    hydra: tuple[str, ...] = ()

    @property
    def num_points(self) -> int:
        """How many points there are."""
        return prod(len(self.choices[axis[0]]) for axis in self.axes)

    @property
    def swept(self) -> tuple[str, ...]:
        """The keys that have more than one value, in the order of the overrides."""
        return tuple(choices[0].key for choices in self.choices if len(choices) > 1)

    def points(self) -> Iterator[tuple[Choice, ...]]:
        """Yield the choices of each point."""
        for picks in product(*(range(len(self.choices[axis[0]])) for axis in self.axes)):
            pick_of = {position: pick for axis, pick in zip(self.axes, picks, strict=True) for position in axis}
            yield tuple(choices[pick_of[position]] for position, choices in enumerate(self.choices))

    def labels(self, point: Sequence[Choice]) -> dict[str, Any]:
        """Return the swept keys of `point` with their values."""
        return {one.key: one.label for one, choices in zip(point, self.choices, strict=True) if len(choices) > 1}

    def zipped(self, pairs: Sequence[str] | Sequence[Sequence[str]]) -> Grid:
        """Return the grid in which the keys of each entry of `pairs` vary together.

        Raises:
            ConfigError: a key is not swept, is named twice, or has another number of values.
        """
        groups = [
            [key for key in pairs if isinstance(key, str)],
            *([*pair] for pair in pairs if not isinstance(pair, str)),
        ]
        named = [[self._position(key) for key in group] for group in groups if group]
        faults = [*_unswept(groups, named), *self._uneven(named)]
        if faults:
            raise ConfigError(faults)
        positions = [tuple(sorted(at for at in group if at is not None)) for group in named]
        together = {at: group for group in positions for at in group}
        axes = dict.fromkeys(together.get(axis[0], axis) for axis in self.axes)
        return replace(self, axes=tuple(axes))

    def _position(self, key: str) -> int | None:
        return next((at for at, choices in enumerate(self.choices) if choices[0].key == key and len(choices) > 1), None)

    def _uneven(self, named: Sequence[Sequence[int | None]]) -> Iterator[Fault]:
        for group in named:
            counts = {self.choices[at][0].key: len(self.choices[at]) for at in group if at is not None}
            if len(set(counts.values())) > 1:
                listed = ", ".join(f"{key} has {count}" for key, count in counts.items())
                yield Fault("sweep.zip", f"keys that vary together need as many values each: {listed}")


def _unswept(groups: Sequence[Sequence[str]], named: Sequence[Sequence[int | None]]) -> Iterator[Fault]:
    seen: set[str] = set()
    for keys, positions in zip((group for group in groups if group), named, strict=True):
        for key, position in zip(keys, positions, strict=True):
            if position is None:
                yield Fault("sweep.zip", "names a key without several values: it is not swept", key)
            elif key in seen:
                yield Fault("sweep.zip", "names a key twice", key)
            seen.add(key)


def read_grid(
    overrides: Sequence[str], loader: ConfigLoader, groups: Mapping[str, list[str]]
) -> tuple[Grid, list[Fault]]:
    """Return the grid that `overrides` span, and what is wrong with those that have one value for all points.

    A value of a sweep that is refused keeps its place in the grid, with its fault.
    """
    parser = OverridesParser.create(config_loader=loader)
    found: dict[str, tuple[Choice, ...]] = {}
    hydra: list[str] = []
    faults: list[Fault] = []
    for typed in overrides:
        if typed.lstrip("+~").startswith(("hydra.", "hydra/")):
            hydra.append(typed)
            continue
        try:
            name, choices = _choices(typed, parser, groups)
        except ConfigError as error:
            faults += error.faults
            continue
        if len(choices) == 1 and choices[0].fault:
            faults.append(choices[0].fault)
        else:
            found[name] = choices
    grid = Grid(tuple(found.values()), tuple((at,) for at in range(len(found))), tuple(hydra))
    if grid.num_points > MAX_POINTS:
        faults.append(Fault("", f"{grid.num_points:,} points: a sweep takes at most {MAX_POINTS:,}"))
    return grid, faults


def _choices(typed: str, parser: OverridesParser, groups: Mapping[str, list[str]]) -> tuple[str, tuple[Choice, ...]]:
    """Return the key of the override as Hydra's sweeper has it, and its choices."""
    override = _parsed(typed, parser, groups)
    name = override.get_key_element()
    if not override.is_sweep_override():
        text = typed if override.is_delete() else f"{name}={override.get_value_element_as_str()}"
        return name, (_choice(text, typed, parser, groups),)
    fault = _sweep_fault(override, typed.partition("=")[2])
    if fault:
        raise ConfigError([fault])
    texts = [f"{name}={value}" for value in islice(override.sweep_string_iterator(), MAX_POINTS + 1)]
    if not 1 <= len(texts) <= MAX_POINTS:
        words = f"more than {MAX_POINTS:,} points" if texts else "stands for no value at all"
        raise ConfigError([_fault(override, words, typed.partition("=")[2])])
    return name, tuple(_choice(text, text, parser, groups) for text in texts)


def _parsed(typed: str, parser: OverridesParser, groups: Mapping[str, list[str]]) -> Override:
    """Return the override as Hydra reads it; prose, and one interpolation in another, with the quotes they lack."""
    try:
        return parser.parse_overrides([typed])[0]  # unlike parse_override, this one makes a glob work
    except HydraException:
        checked = check_overrides([typed], groups)
        if checked.faults:
            raise ConfigError(checked.faults) from None
        return parser.parse_override(checked.accepted[0])


def _sweep_fault(override: Override, value: str) -> Fault | None:
    key = override.key_or_group
    if not override.is_discrete_sweep():
        return _fault(override, "a grid needs single values: a,b or range(1,9) or choice(a,b) or glob(*)", value)
    if key in _ONE_FOR_ALL or key.partition(".")[0] == "sweep":
        return _fault(override, "holds for the whole sweep: it takes one value", value)
    return None


def _fault(override: Override, message: str, value: str) -> Fault:
    return Fault(override.key_or_group, message, shown_value(override.key_or_group, value), COMMAND_LINE)


def _choice(text: str, typed: str, parser: OverridesParser, groups: Mapping[str, list[str]]) -> Choice:
    checked = check_overrides([typed], groups)
    key = text.partition("=")[0].lstrip("+~")
    if checked.faults:
        return Choice(text, key, text.partition("=")[2], None, fault=checked.faults[0])
    accepted = parser.parse_override(checked.accepted[0])
    return Choice(text, key, _label(accepted.value()), accepted, checked.keys[0])


def _label(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str | int | float) or value is None:
        return str(value) if isinstance(value, str) else value
    return json.dumps(value, default=str, separators=(",", ":"))
