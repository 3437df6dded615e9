"""The facts of published models' `config.json` that the memory arithmetic reads; the rest is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def model_config(name: str) -> dict[str, Any]:
    """Return the facts of the model in `<name>.json`."""
    config: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    return config
