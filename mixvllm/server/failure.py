"""From what was seen of a server to an error that names the cause, the line that shows it, and what mends it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import ServerFailed
from mixvllm.runs.secrets import mask
from mixvllm.vllm.failures import UNCLASSIFIED, Diagnosis, diagnose
from mixvllm.vllm.failures.exits import signal_name

Failed = TypeVar("Failed", bound=ServerFailed)


class FailureReport:
    """Makes errors of one server from its log.

    Args:
        log: the file it prints to.
        start: the byte that its own lines begin at.
        config: what it runs.
        secrets: what an error must not repeat, though the log may hold it a moment longer.
    """

    def __init__(self, log: Path, start: int, config: ServeConfig, secrets: Iterable[str] = ()) -> None:
        self._log = log
        self._start = start
        self._config = config
        self._secrets = frozenset(secrets)

    def error(
        self, kind: type[Failed], what: str, exit_status: int | None, *, is_transient: bool = False, advice: str = ""
    ) -> Failed:
        """Return the error `what`, with the cause that the log shows.

        Args:
            kind: its class.
            what: what was seen, in a line.
            exit_status: of the leader; None while it lives.
            is_transient: whether another start may help where the log shows no cause.
            advice: what to do where the log shows no cause.
        """
        diagnosis = diagnose(self._log, exit_status=exit_status, config=self._config, start=self._start)
        if diagnosis.id != UNCLASSIFIED:
            return kind(self._message(what, diagnosis), kind=diagnosis.kind, failure=self._record(diagnosis))
        message = self._message(what, replace(diagnosis, fix=advice or diagnosis.fix))
        may_help = "transient" if is_transient else "unknown"
        return kind(message, kind=may_help, failure={**self._record(diagnosis), "cause": what})

    def _record(self, diagnosis: Diagnosis) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(mask(json.dumps(diagnosis.record()), self._secrets))
        return record

    def _message(self, what: str, diagnosis: Diagnosis) -> str:
        return mask(f"{what}\n  cause: {diagnosis.message(self._log)}", self._secrets)


def exit_words(status: int) -> str:
    """Return how a process ended, from its exit status (negative: the signal that ended it)."""
    if status < 0:
        return f"killed by {signal_name(-status)}"
    return f"exit status {status}" + (", which vLLM also gives when its engine dies" if status == 0 else "")
