"""The faults of many points: the same one is told once, with how many points have it and one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mixvllm.config.faults import shown_value
from mixvllm.config.load.plan import Candidate
from mixvllm.errors import Fault

_MAX_SHOWN = 20
"""Different faults that are told; the others are counted."""


def shown_labels(labels: Mapping[str, Any]) -> str:
    """Return swept keys with their values as they are typed: `model=demo inference.seed=3`."""
    return " ".join(f"{key}={shown_label(key, value)}" for key, value in labels.items()) or "the only point"


def shown_label(key: str, value: Any) -> str:
    """Return a swept value as it is typed; `…` where it may be a secret."""
    return shown_value(key, value) or "…"


@dataclass
class SharedFault:
    """One fault and the points that have it.

    Args:
        fault: of the first of them.
        example: the swept values of the first of them.
        common: the swept values that all of them have.
        values: what they have at the key that is wrong.
        num_points: how many they are.
    """

    fault: Fault
    example: dict[str, Any]
    common: dict[str, Any]
    values: set[str | None]
    num_points: int = 1

    def add(self, fault: Fault, labels: Mapping[str, Any]) -> None:
        """Count one more point that has it."""
        self.num_points += 1
        self.values.add(fault.value)
        self.common = {key: value for key, value in self.common.items() if labels.get(key) == value}

    def words(self, num_candidates: int) -> Fault:
        """Return the fault, its message saying which points have it, of how many."""
        others = len(self.values) - 1
        values = f"and of {others:,} other value{'s' * (others > 1)}; " if others else ""
        which = f"{values}{self._which(num_candidates)}"
        return replace(self.fault, message=f"{self.fault.message} [{which}]" if which else self.fault.message)

    def _which(self, num_candidates: int) -> str:
        if self.num_points == num_candidates:
            return f"in all {num_candidates:,} points" if num_candidates > 1 else ""
        if self.num_points == 1:
            return f"in the point {shown_labels(self.example)}"
        shared = f", all with {shown_labels(self.common)}" if self.common else ""
        rest = {key: value for key, value in self.example.items() if key not in self.common}
        first = f", the first with {shown_labels(rest)}" if rest else ""
        return f"in {self.num_points:,} of {num_candidates:,} points{shared}{first}"


class SharedFaults:
    """Collects the faults of points."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[SharedFault, Candidate]] = {}

    def add(self, fault: Fault, candidate: Candidate) -> None:
        """Take a fault of a point; those that only differ in the value are one."""
        key = fault.path, fault.message
        labels = candidate.labels
        if key in self._found:
            self._found[key][0].add(fault, labels)
        else:
            self._found[key] = SharedFault(fault, dict(labels), dict(labels), {fault.value}), candidate

    def ordered(self, with_origin: Callable[[Fault, Candidate], Fault]) -> tuple[SharedFault, ...]:
        """Return what was found, that of most points first; those that are told have their origins."""
        found = sorted(self._found.values(), key=lambda entry: -entry[0].num_points)
        for shared, candidate in found[:_MAX_SHOWN]:
            shared.fault = with_origin(shared.fault, candidate)
        return tuple(shared for shared, _ in found)


def words_of(faults: Sequence[SharedFault], num_candidates: int) -> list[Fault]:
    """Return what to say of `faults`, which are ordered."""
    words = [one.words(num_candidates) for one in faults[:_MAX_SHOWN]]
    left = len(faults) - len(words)
    return [*words, *([Fault("", f"and {left:,} more faults")] if left else [])]
