"""Reading records that may be missing, or not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MAX_BYTES = 8 << 20
"""No record of ours comes near; a larger file is none."""


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in the file at `path`; None where there is no such file, or no object in it."""
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
