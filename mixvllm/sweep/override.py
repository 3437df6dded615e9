"""Overrides as they were typed, before anything reads them."""

from __future__ import annotations

from collections.abc import Sequence


def key_of(override: str) -> str:
    """Return the key, or the group, that an override is of."""
    return override.lstrip("+~").partition("=")[0]


def last_value(overrides: Sequence[str], key: str) -> str | None:
    """Return the text that `overrides` give `key` last, without quotes around it; None where none does."""
    given = [text.partition("=")[2] for text in overrides if text.lstrip("+").startswith(f"{key}=")]
    return given[-1].strip("'\"") if given else None
