"""The order that a launcher gives to a guardian; imported for its type alone, since the guardian imports little."""

from __future__ import annotations

from typing import TypedDict


class Task(TypedDict):
    """What a guardian is to do.

    Args:
        argv: of the server, program first.
        environment: the server's, whole.
        log: the file that the server prints to.
        tmp_dir: the server's own folder for temporary files; made at the beginning, removed at the end.
        run: the run's folder, for the record where the launcher is gone.
        secrets: what is then taken out of the log.
        limits: seconds: those of `StopLimits`, and `drain_s`.
    """

    argv: list[str]
    environment: dict[str, str]
    log: str
    tmp_dir: str
    run: str
    secrets: list[str]
    limits: dict[str, float]
