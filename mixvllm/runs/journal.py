"""What happens in a run, as events: told to whoever listens, and written down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder

SCHEMA_VERSION = 1

STATES = {
    "spawned": "starting",
    "phase": "starting",
    "replaced": "starting",
    "ready": "ready",
    "draining": "draining",
    "hung": "hung",
    "stopped": "stopped",
    "failed": "failed",
}
"""The state of a server after each event that changes it. `replaced`: the server ended, another one follows."""

ENDED = ("stopped", "failed")
"""The states that nothing follows."""

_OF_ONE_SERVER = ("phase", "url", "ready_at", "pid", "start_ticks", "cause", "failure", "exit_code", "was_killed")


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Args:
        name: e.g. `spawned`, `phase`, `ready`, `draining`, `hung`, `replaced`, `stopped`, `failed`.
        elapsed_s: seconds since the server was started, by a clock that never jumps.
        fields: what belongs to it, as JSON has it.
    """

    name: str
    elapsed_s: float
    fields: dict[str, Any] = field(default_factory=dict)


Observer = Callable[[Event], None]


class Journal:
    """Writes each event to `events.jsonl`, and the state that follows from it to `status.json`.

    Args:
        folder: of the run.
        facts: what `status.json` says of the run from its first event on.
    """

    def __init__(self, folder: RunFolder, facts: Mapping[str, Any] | None = None) -> None:
        self._folder = folder
        self._status: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "run": folder.name,
            "state": "starting",
            "attempt": 0,
            "attempts": [],
            "durations_s": {},
            "began_at": _now(),
            **(facts or {}),
        }
        self._span: tuple[str, float] | None = None

    def __call__(self, event: Event) -> None:
        """Record `event`."""
        now = _now()
        if event.name == "spawned":
            self._begin_attempt()
        _append(self._folder, now, event, self._status["attempt"])
        if event.name not in STATES:
            return
        self._account(event)
        state = STATES[event.name]
        self._status |= {"state": state, "since": now, **event.fields}
        if state != "starting":
            self._status["phase"] = None
        if event.name == "ready":
            self._status["ready_at"] = now
        if state in ENDED or event.name == "replaced":
            self._end_attempt(state if state in ENDED else event.fields.get("outcome", "failed"), now)
        write_json(self._folder.status, self._status)

    def _begin_attempt(self) -> None:
        self._status |= dict.fromkeys(_OF_ONE_SERVER) | {"durations_s": {}, "attempt": self._status["attempt"] + 1}
        self._status["attempt_began_at"] = _now()
        self._span = None

    def _account(self, event: Event) -> None:
        """Add the time since the last change to the phase or the state that it was spent in."""
        if self._span is not None:
            name, began_s = self._span
            durations = self._status["durations_s"]
            durations[name] = round(durations.get(name, 0.0) + event.elapsed_s - began_s, 3)
        state = STATES[event.name]
        self._span = (event.fields.get("phase", "imports") if state == "starting" else state, event.elapsed_s)

    def _end_attempt(self, state: str, now: str) -> None:
        """Keep what is known of the attempt, once: between two servers none is under way."""
        if any(attempt["attempt"] == self._status["attempt"] for attempt in self._status["attempts"]):
            return
        kept = ("attempt", "attempt_began_at", "ready_at", "cause", "failure", "exit_code", "was_killed", "durations_s")
        record = {name: self._status.get(name) for name in kept}
        self._status["attempts"] = [*self._status["attempts"], {**record, "state": state, "ended_at": now}]
        self._span = None


def tell_end(observers: Iterable[Observer], error: Exception) -> None:
    """Tell that a run has failed of `error` before it had a server."""
    failure = getattr(error, "failure", None) or None
    event = Event("failed", 0.0, {"cause": str(error).partition("\n")[0], "failure": failure})
    for observer in observers:
        observer(event)


def record_end(folder: RunFolder, cause: str, exit_code: int | None = None) -> None:
    """Write that the run of `folder` has failed of `cause`, for a launcher that cannot any more.

    An end that is written already stays.
    """
    try:
        status = json.loads(folder.status.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        status = {}
    if status.get("state") in ENDED:
        return
    began = datetime.fromisoformat(status.get("attempt_began_at") or _now())
    elapsed_s = max(0.0, (datetime.now(UTC) - began).total_seconds())  # of the two clocks, the one that outlives us
    Journal(folder, status)(Event("failed", elapsed_s, {"cause": cause, "exit_code": exit_code, "url": None}))
    folder.endpoint.unlink(missing_ok=True)


def _append(folder: RunFolder, now: str, event: Event, attempt: int) -> None:
    line = {"time": now, "elapsed_s": round(event.elapsed_s, 3), "event": event.name, "attempt": attempt}
    descriptor = os.open(folder.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(json.dumps({**line, **event.fields}, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
