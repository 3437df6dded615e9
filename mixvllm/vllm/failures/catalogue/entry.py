"""The form of an entry of the catalogue: the signs of a failure in a log, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from mixvllm.config.schema import ServeConfig
from mixvllm.vllm.failures.diagnosis import FailureKind
from mixvllm.vllm.failures.log_lines import Where
from mixvllm.vllm.failures.moments import Moment

Captured = Mapping[str, str]
"""What the pattern of a sign captured, by name."""

Remedy = Callable[[Captured, ServeConfig | None], str | None]
"""Computes an override from what was captured and what was configured; None where there is none to propose."""

Origin = Literal["vllm", "older", "elsewhere"]
"""Who words a sign: the supported release of vLLM, an earlier one, or another program or library."""


class Rank(IntEnum):
    """Which of several failures in one log is the cause: the lowest."""

    SPECIFIC = 0
    """Says what is wrong."""
    GENERAL = 1
    """Says it less well than others do, or follows from another failure as often as not."""
    DEATH = 2
    """Says that a process is gone, and not why."""
    REQUEST = 3
    """Fails a request, not the server; looked at only where the server lives and a request was what failed."""


@dataclass(frozen=True)
class Sign:
    """A text in a log that shows a failure.

    Args:
        core: the part of it that never varies; compared first, since that is quick.
        pattern: searched in the line; captures values by name.
        where: the kind of line that it is looked for in.
        origin: who words it.
        moments: when it counts; empty = whenever.
    """

    core: str
    pattern: re.Pattern[str]
    where: Where = "message"
    origin: Origin = "vllm"
    moments: frozenset[Moment] = frozenset()


@dataclass(frozen=True)
class Failure:
    """A known failure.

    Args:
        id: its name; see `Diagnosis`.
        kind: who can mend it.
        signs: each of them shows it, shape (n,), n >= 1.
        cause: template over what a sign captures.
        fix: template over what a sign captures.
        override: template over what a sign captures, or what computes it.
        rank: against other failures in the same log.
    """

    id: str
    kind: FailureKind
    signs: tuple[Sign, ...]
    cause: str
    fix: str
    override: str | Remedy | None = None
    rank: Rank = Rank.SPECIFIC


def sign(
    core: str,
    pattern: str | None = None,
    *,
    where: Where = "message",
    origin: Origin = "vllm",
    during: tuple[Moment, ...] = (),
) -> Sign:
    """Return a sign in vLLM's words; without a pattern, the core is the whole of it."""
    return Sign(core, re.compile(pattern or re.escape(core)), where, origin, frozenset(during))


def foreign_sign(core: str, pattern: str | None = None, *, during: tuple[Moment, ...] = ()) -> Sign:
    """Return a sign in the words of another program or library."""
    return sign(core, pattern, origin="elsewhere", during=during)
