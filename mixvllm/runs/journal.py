"""What happens in a run, as events: told to whoever listens, and written down."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder

SCHEMA_VERSION = 1

STATES = {
    "spawned": "starting",
    "phase": "starting",
    "ready": "ready",
    "draining": "draining",
    "stopped": "stopped",
    "failed": "failed",
}
"""The state of a server after each event that changes it."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Args:
        name: e.g. `spawned`, `phase`, `ready`, `draining`, `stopped`, `failed`.
        elapsed_s: seconds since the server was started, by a clock that never jumps.
        fields: what belongs to it, as JSON has it.
    """

    name: str
    elapsed_s: float
    fields: dict[str, Any] = field(default_factory=dict)


Observer = Callable[[Event], None]


class Journal:
    """Writes each event to `events.jsonl`, and the state that follows from it to `status.json`."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._status: dict[str, Any] = {"schema": SCHEMA_VERSION}

    def __call__(self, event: Event) -> None:
        """Record `event`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "elapsed_s": round(event.elapsed_s, 3), "event": event.name, **event.fields}
        descriptor = os.open(self._folder.events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if event.name in STATES:
            self._status |= {"state": STATES[event.name], "since": now, **event.fields}
            write_json(self._folder.status, self._status)
