"""Reading records that may be missing, or not whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_BYTES = 8 << 20
"""No record of ours comes near; a larger file is none."""

UNREADABLE = "unreadable"
"""The state of a run whose record tells nothing, or could be somebody else's; nothing is done to it."""


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in the file at `path`; None where there is no such file, or no object in it."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def moment_of(text: object) -> datetime | None:
    """Return the time that a record has as `text`; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
