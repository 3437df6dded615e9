"""Values of records that may lack them, or hold something else in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mixvllm.workload.measurement import is_number


def text_in(record: Mapping[str, Any], name: str) -> str | None:
    """Return the text that `record` has under `name`; None where it has none."""
    value = record.get(name)
    return value if isinstance(value, str) and value else None


def number_in(record: Mapping[str, Any], name: str) -> float | None:
    """Return the finite number that `record` has under `name`; None where it has none."""
    value = record.get(name)
    return value if is_number(value) else None


def count_in(record: Mapping[str, Any], name: str) -> int | None:
    """Return the whole number from 0 that `record` has under `name`; None where it has none."""
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def mapping_in(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object that `record` has under `name`; an empty one where it has none."""
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def mappings_in(record: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of the list that `record` has under `name`, shape (n,)."""
    value = record.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def texts_in(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the texts of the list that `record` has under `name`, shape (n,)."""
    value = record.get(name)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


class Shared:
    """Keeps one of equal values: thousands of points have most of their configuration in common."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def __call__(self, value: Any) -> Any:
        """Return `value`, or what was equal to it before."""
        return self._kept.setdefault(json.dumps(value, sort_keys=True), value)

    def sections(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return `config` with its sections shared."""
        return {name: self(section) for name, section in config.items()}
