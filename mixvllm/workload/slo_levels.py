"""Which level of load `slo` measures next. Pure: from what was measured to a move.

A level that misses a target is supposed to be missed by all higher ones, too. Levels are doubled until one misses; the
gap is then halved until it is small; the highest level that held is measured once more, with other requests, and counts
only if it holds again. Where it does not, the search goes on below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_NUM_DIGITS = 4  # of a level: enough for the finest precision, and no more than a person reads


@dataclass(frozen=True)
class Levels:
    """Where is looked.

    Args:
        lowest: level, which is measured first.
        highest: level; not exceeded.
        precision: gap to a level that misses, as a fraction of the level that is found.
        is_whole: whether levels are integers.
    """

    lowest: float
    highest: float
    precision: float
    is_whole: bool = False


@dataclass(frozen=True)
class Step:
    """A level that was measured, and whether all targets held."""

    level: float
    is_kept: bool


@dataclass(frozen=True)
class Measure:
    """Measure this level next; it may have held already."""

    level: float


@dataclass(frozen=True)
class Found:
    """The answer; `is_highest`: nothing that was measured missed, so that it may be higher."""

    level: float
    is_highest: bool = False


@dataclass(frozen=True)
class Missed:
    """Even the lowest level misses a target."""


def next_move(steps: Sequence[Step], levels: Levels) -> Measure | Found | Missed:
    """Return what follows from `steps`, in the order in which they were measured.

    A first step that misses does not count: it may have met a server that had not warmed up.
    """
    counted = steps[1:] if steps and not steps[0].is_kept else steps
    if not counted:
        return Measure(levels.lowest)
    missed = min((step.level for step in counted if not step.is_kept), default=None)
    kept = [step.level for step in counted if step.is_kept and (missed is None or step.level < missed)]
    if not kept:
        return Missed()
    best = max(kept)
    between = _next_level(best, missed, levels)
    if between is not None:
        return Measure(between)
    if kept.count(best) < 2:
        return Measure(best)
    return Found(best, is_highest=missed is None)


def _next_level(kept: float, missed: float | None, levels: Levels) -> float | None:
    """Return a level between the highest that held and the lowest that missed; None where they are near enough."""
    if missed is None:
        return min(2 * kept, levels.highest) if kept < levels.highest else None
    if missed - kept <= levels.precision * kept:
        return None
    middle = (kept + missed) / 2
    level = float(int(middle)) if levels.is_whole else float(f"{middle:.{_NUM_DIGITS}g}")
    return level if kept < level < missed else None
