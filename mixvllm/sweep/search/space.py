"""What a search may choose from: overrides in Hydra's sweep syntax, of which each trial takes one value each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

from mixvllm.config.load.grid import Choice, read_grid
from mixvllm.config.load.session import groups, hydra_session
from mixvllm.errors import ConfigError, Fault
from mixvllm.sweep.override import last_value

_KEY = "sweep.search"
_NOT_COMPARED = ("sweep.", "hydra.", "hydra/", "output_dir=", "preflight=", "dry_run=")

Picks = tuple[int, ...]
"""Positions of the values that one trial has, one for each axis, shape (n,)."""


@dataclass(frozen=True)
class Axis:
    """A key with several values; numbers are in ascending order.

    Args:
        key: as written.
        choices: its values.
    """

    key: str
    choices: tuple[Choice, ...]

    @property
    def is_ordered(self) -> bool:
        """Whether its values are numbers, so that neighbours are alike."""
        return all(_is_number(choice.label) for choice in self.choices)


@dataclass(frozen=True)
class Space:
    """All that a search may choose from.

    Args:
        overrides: in the order in which a point has them: one text for all points, or an axis.
    """

    overrides: tuple[str | Axis, ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The keys that vary."""
        return tuple(one for one in self.overrides if isinstance(one, Axis))

    @property
    def fixed(self) -> tuple[str, ...]:
        """The overrides that all points have."""
        return tuple(one for one in self.overrides if isinstance(one, str))

    @property
    def num_points(self) -> int:
        """How many combinations there are."""
        return prod(len(axis.choices) for axis in self.axes)

    def texts(self, picks: Picks) -> list[str]:
        """Return the overrides of a point."""
        left = iter(picks)
        return [one if isinstance(one, str) else one.choices[next(left)].text for one in self.overrides]

    def labels(self, picks: Picks) -> dict[str, Any]:
        """Return the keys that vary with the values of a point."""
        return {axis.key: axis.choices[pick].label for axis, pick in zip(self.axes, picks, strict=True)}

    def number(self, picks: Picks) -> int:
        """Return the position of a combination among all, the last axis varying fastest."""
        number = 0
        for axis, pick in zip(self.axes, picks, strict=True):
            number = number * len(axis.choices) + pick
        return number

    def picks(self, number: int) -> Picks:
        """Return the combination at a position."""
        picks = []
        for axis in reversed(self.axes):
            number, pick = divmod(number, len(axis.choices))
            picks.append(pick)
        return tuple(reversed(picks))


def asks_for_search(overrides: Sequence[str]) -> bool:
    """Whether `overrides` themselves ask for a search; a file may, too."""
    given = last_value(overrides, _KEY)
    return given is not None and given.lower() != "null"


def read_space(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> Space:
    """Return what `overrides` let a search choose from.

    Raises:
        ConfigError: an override is wrong, or one of its values; or no key has several values.
    """
    found: dict[str, str | Axis] = {}
    faults: list[Fault] = []
    with hydra_session(config_dirs) as loader:
        known = groups(loader)
        for typed in overrides:
            try:
                grid, wrong = read_grid([typed], loader, known)
            except ConfigError as error:
                faults += error.faults
                continue
            choices = grid.choices[0] if grid.choices else ()
            wrong += [choice.fault for choice in choices if choice.fault]
            faults += {(fault.path, fault.message): fault for fault in reversed(wrong)}.values()
            name = choices[0].text.partition("=")[0] if choices else typed
            found[name] = _axis(choices) if len(choices) > 1 else typed
    space = Space(tuple(found.values()))
    if not faults and not space.axes:
        faults.append(Fault(_KEY, "no key has several values to choose from: inference.max_num_seqs=16,64,256"))
    if faults:
        raise ConfigError(faults)
    return space


def _axis(choices: Sequence[Choice]) -> Axis:
    distinct = list({choice.text: choice for choice in choices}.values())
    if all(_is_number(choice.label) for choice in distinct):
        distinct.sort(key=_label)
        distinct = [*(one for one, after in pairwise(distinct) if one.label != after.label), distinct[-1]]
    return Axis(choices[0].key, tuple(distinct))


def _label(choice: Choice) -> Any:
    return choice.label


def _is_number(label: object) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool)


def space_record(space: Space) -> Mapping[str, Any]:
    """Return what must be the same where a search goes on: its values cannot be compared else."""
    kept = [text for text in space.fixed if not text.lstrip("+~").startswith(_NOT_COMPARED)]
    return {
        "axes": {axis.key: [choice.text for choice in axis.choices] for axis in space.axes},
        "fixed": kept,
    }
