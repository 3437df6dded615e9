"""Writes a value as Hydra's override grammar reads it back."""

from __future__ import annotations

import re
from typing import Any

_BARE = re.compile(r"(?!(?:true|false|null|nan|inf)$)[A-Za-z_/][A-Za-z0-9_./@+-]*", re.IGNORECASE)
_BARE_NUMBERS = re.compile(r"\d+(\.\d+){3}|\d+[kmgtKMGT]|\d+\.\d+[kmgt]")
_INTERPOLATION = re.compile(r"(\\*)\$\{")
_KEY_ESCAPED = re.compile(r"([\\()\[\]{}:=, \t])")
_KEY = re.compile(r"[A-Za-z0-9_/\\\-+.$%*@?|()\[\]{}:=, \t]+")


def write_value(value: Any) -> str:
    """Return `value`, as JSON has it, in Hydra's grammar.

    Raises:
        ValueError: a key of a mapping has a character that the grammar does not have in keys.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(write_value, value))}]"
    if isinstance(value, dict):
        entries = (f"{_write_key(key)}:{write_value(entry)}" for key, entry in value.items())
        return "{" + ",".join(entries) + "}"
    return _write_text(value) if isinstance(value, str) else repr(value)


def is_bare(text: str) -> bool:
    """Whether `text` reads as text without quotes."""
    return bool(_BARE.fullmatch(text) or _BARE_NUMBERS.fullmatch(text))


def without_interpolations(value: Any) -> Any:
    """Return `value` with every `${` in it escaped, so that OmegaConf leaves it as it is."""
    if isinstance(value, dict):
        return {key: without_interpolations(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_interpolations(entry) for entry in value]
    if isinstance(value, str):
        return _INTERPOLATION.sub(lambda match: rf"{match[1] * 2}\${{", value)
    return value


def _write_text(text: str) -> str:
    if is_bare(text):
        return text
    quote = "'" if '"' in text and "'" not in text else '"'
    escaped: str = without_interpolations(text)
    inner = re.sub(rf"(\\*){quote}", lambda match: match[1] * 2 + "\\" + quote, escaped)
    trailing = len(inner) - len(inner.rstrip("\\"))
    return f"{quote}{inner}{inner[len(inner) - trailing :]}{quote}"


def _write_key(key: str) -> str:
    if not _KEY.fullmatch(key) or key.strip() != key or _is_no_text(key):
        raise ValueError(f"the key {key!r} cannot be written in an override")
    return _KEY_ESCAPED.sub(r"\\\1", key)


def _is_no_text(key: str) -> bool:
    """Whether the grammar reads `key` as something else than text, which JSON would not write as `key` again."""
    try:
        return key.lower() in ("true", "false", "null") or str(int(float(key))) != key
    except (ValueError, OverflowError):
        return key.lower().lstrip("+-") in ("nan", "inf")
