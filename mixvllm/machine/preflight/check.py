"""One line of a preflight: what was looked at, the verdict, and the change that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Check:
    """What was found about one thing.

    Args:
        subject: what was looked at, e.g. `GPUs`.
        verdict: `error` where a start is sure to fail or not safe, `warning` where it may be.
        finding: in words, with figures.
        mend: the change that mends it; empty where nothing needs to be.
    """

    subject: str
    verdict: Verdict
    finding: str
    mend: str = ""


def ok(subject: str, finding: str) -> Check:
    """Return a check that found nothing wrong."""
    return Check(subject, "ok", finding)


def warning(subject: str, finding: str, mend: str) -> Check:
    """Return a check that found something that may fail."""
    return Check(subject, "warning", finding, mend)


def error(subject: str, finding: str, mend: str) -> Check:
    """Return a check that found something that is sure to fail."""
    return Check(subject, "error", finding, mend)
