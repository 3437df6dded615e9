"""Which points of two studies belong together: those that ask for the same, but for what differs as a whole."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.study import StudyPoint
from mixvllm.sweep.point import NOT_MEASURED

_NOT_ASKED = frozenset(["workload.repeats", "server.port"])
"""Keys that say nothing of what is measured, beside the sections `NOT_MEASURED`."""
_NULL = "null"
_UNKNOWN = ""
_MAX_NAMED = 5

Flat = Mapping[str, str]
"""What a point asks for, by dotted key, as text that is equal where the values are."""


@dataclass(frozen=True)
class SideKey:
    """A key whose values differ between the two sides as a whole.

    Args:
        key: dotted.
        a: distinct values of the first side, as they are.
        b: of the second.
    """

    key: str
    a: tuple[Any, ...]
    b: tuple[Any, ...]


@dataclass(frozen=True)
class Pairing:
    """Points by two, and what is left.

    Args:
        pairs: a point of A and one of B each, in the order of A.
        keys: that the pairs differ in from each other, in the order of the configuration.
        side_keys: that differ between A and B.
        only_a: points of A without one in B.
        only_b: points of B without one in A.
        not_recorded: keys that one side alone tells of, and that say nothing therefore.
    """

    pairs: tuple[tuple[StudyPoint, StudyPoint], ...]
    keys: tuple[str, ...]
    side_keys: tuple[SideKey, ...]
    only_a: tuple[StudyPoint, ...]
    only_b: tuple[StudyPoint, ...]
    not_recorded: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Side:
    name: str
    points: Sequence[StudyPoint]
    flats: Sequence[Flat]
    missing: str
    """What a key means that a point does not have."""

    def text(self, at: int, key: str) -> str:
        return self.flats[at].get(key, self.missing)

    def texts(self, key: str) -> set[str]:
        return {flat.get(key, self.missing) for flat in self.flats}

    def groups(self, keys: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
        found: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for at in range(len(self.points)):
            found[tuple(self.text(at, key) for key in keys)].append(at)
        return found


def pair_points(a: Sequence[StudyPoint], b: Sequence[StudyPoint]) -> Pairing:
    """Return the pairs that `a` and `b` make.

    A key whose values on one side are all others than on the other one differs as a whole; all the rest must be equal.

    Raises:
        ConfigError: no points have the same rest, or several of one side do, so that it is not clear which belong
            together.
    """
    sides = _side("A", a), _side("B", b)
    keys = dict.fromkeys(key for side in sides for key in dict.fromkeys(key for flat in side.flats for key in flat))
    values = {key: (sides[0].texts(key), sides[1].texts(key)) for key in keys}
    lacking = [key for key, found in values.items() if {_UNKNOWN} in found]
    known = {key: found for key, found in values.items() if {_UNKNOWN} not in found}
    whole = [key for key, (in_a, in_b) in known.items() if not in_a & in_b]
    rest = [key for key, (in_a, in_b) in known.items() if in_a & in_b and len(in_a | in_b) > 1]
    groups = sides[0].groups(rest), sides[1].groups(rest)
    names = [name for name in groups[0] if name in groups[1]]
    if not names:
        raise ConfigError([Fault("", _nothing_common(rest, values))])
    for side, own in zip(sides, groups, strict=True):
        _check_clear(side, [own[name] for name in names], [*whole, *lacking])
    return Pairing(
        tuple((a[groups[0][name][0]], b[groups[1][name][0]]) for name in names),
        _told_apart(names, rest),
        tuple(_side_key(key, sides) for key in whole),
        tuple(a[at] for name, found in groups[0].items() if name not in groups[1] for at in found),
        tuple(b[at] for name, found in groups[1].items() if name not in groups[0] for at in found),
        tuple(key for key in lacking if values[key][0] | values[key][1] != {_UNKNOWN, _NULL}),
    )


def _side(name: str, points: Sequence[StudyPoint]) -> _Side:
    is_whole = not any(point.source.is_imported for point in points)
    return _Side(name, points, _flats(points), _NULL if is_whole else _UNKNOWN)


def _flats(points: Sequence[StudyPoint]) -> list[dict[str, str]]:
    kept: dict[int, dict[str, str]] = {}  # points share equal sections
    flats = []
    for point in points:
        flat: dict[str, str] = {}
        for section, content in (point.config or point.labels).items():
            if section in NOT_MEASURED:
                continue
            if id(content) not in kept or not isinstance(content, Mapping):
                kept[id(content)] = _texts(content, section)
            flat |= kept[id(content)]
        flats.append(flat)
    return flats


def _texts(value: Any, path: str) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {key: text for name, below in value.items() for key, text in _texts(below, f"{path}.{name}").items()}
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return {} if path in _NOT_ASKED else {path: json.dumps(value, sort_keys=True, default=str)}


def _check_clear(side: _Side, groups: Sequence[Sequence[int]], left_out: Sequence[str]) -> None:
    """Raise where several points of `side` have the same rest."""
    double = next((found for found in groups if len(found) > 1), None)
    if double is None:
        return
    first, second = double[:2]
    apart = [key for key in left_out if side.text(first, key) != side.text(second, key)]
    why = (
        f"differ in {_listed(apart)} alone, where the other side has no value of theirs"
        if apart
        else "ask for the same"
    )
    names = f"points {side.points[first].name} and {side.points[second].name} of {side.name}"
    words = f"{names} {why}: it is not clear which points belong together"
    raise ConfigError([Fault("", f"{words}\n  next: compare folders that vary the same keys, or single runs")])


def _nothing_common(keys: Sequence[str], values: Mapping[str, tuple[set[str], set[str]]]) -> str:
    apart = [key for key in keys if values[key][0] != values[key][1]]
    return (
        f"A and B have no point in common: no combination of {_listed(apart or keys)} is in both\n"
        "  next: compare sweeps over the same values"
    )


def _told_apart(names: Sequence[tuple[str, ...]], keys: Sequence[str]) -> tuple[str, ...]:
    columns = list(zip(*names, strict=True)) if keys else []
    return tuple(key for key, column in zip(keys, columns, strict=True) if len(set(column)) > 1)


def _side_key(key: str, sides: tuple[_Side, _Side]) -> SideKey:
    a, b = ({side.text(at, key): point.value(key) for at, point in enumerate(side.points)} for side in sides)
    return SideKey(key, tuple(a.values()), tuple(b.values()))


def _listed(keys: Sequence[str]) -> str:
    rest = f" and {len(keys) - _MAX_NAMED} more" if len(keys) > _MAX_NAMED else ""
    return f"{', '.join(keys[:_MAX_NAMED])}{rest}"
