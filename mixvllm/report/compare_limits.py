"""Conditions on a change, for CI: `p99_ttft_ms>+5%`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.compare_change import Change

_FORM = re.compile(r"\s*(?P<metric>[A-Za-z][\w.]*)\s*(?P<sign>[<>])\s*(?P<limit>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>%?)\s*")
_OPTION = "--fail-on"


@dataclass(frozen=True)
class Limit:
    """A change that must not be.

    Args:
        text: as typed.
        metric: that it is on.
        is_upper: whether a change above the limit is meant; else one below it.
        value: the limit.
        is_percent: whether `value` is a percentage of A; else in the metric's own unit.
    """

    text: str
    metric: str
    is_upper: bool
    value: float
    is_percent: bool

    def is_met(self, change: Change) -> bool:
        """Whether the whole interval of `change` is beyond the limit; without one, whether the difference itself is."""
        if self.is_percent and not change.a:
            beyond = change.difference
            return beyond > 0 if self.is_upper else beyond < 0
        limit = self.value * abs(change.a) / 100 if self.is_percent else self.value
        if self.is_upper:
            return (change.difference if change.low is None else change.low) > limit
        return (change.difference if change.high is None else change.high) < limit


def read_limits(texts: Iterable[str]) -> tuple[Limit, ...]:
    """Return the conditions that `texts` are.

    Raises:
        ConfigError: some are none; all of them are named.
    """
    limits, faults = [], []
    for text in texts:
        found = _FORM.fullmatch(text)
        if found is None:
            faults.append(Fault(_OPTION, "must be METRIC>LIMIT or METRIC<LIMIT, as in p99_ttft_ms>+5%", text))
        else:
            limits.append(
                Limit(text, found["metric"], found["sign"] == ">", float(found["limit"]), bool(found["unit"]))
            )
    if faults:
        raise ConfigError(faults)
    return tuple(limits)


def check_metrics(option: str, asked: Iterable[str], known: Sequence[str]) -> None:
    """Return where all metrics that were asked for are `known`.

    Raises:
        ConfigError: some are not; the nearest known names are told.
    """
    faults = []
    for metric in dict.fromkeys(asked):
        if metric not in known:
            near = difflib.get_close_matches(metric, known, n=3, cutoff=0.5) or list(known)[:3]
            words = f"no metric that both sides have; did you mean {' or '.join(near)}?"
            faults.append(Fault(option, words, metric))
    if faults:
        raise ConfigError(faults)
