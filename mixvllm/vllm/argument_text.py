"""Reads one value of a command line as vLLM's parser does.

Source: `vllm.engine.arg_utils` and `vllm.utils.argparse_utils` of vLLM 0.32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from mixvllm.config.schema.fields import human_int_value, is_human_int
from mixvllm.vllm.arguments import Argument

_HUMAN_NUMBER = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b")
_JSON_STRING = re.compile(r'("(?:[^"\\]|\\.)*")')


def read_value(argument: Argument, text: str) -> Any:
    """Return the value that `text` is for `argument`, None where vLLM reads it as none.

    Raises:
        ValueError: it is not one; says what it must be.
    """
    if text in ("", "None") and (argument.default is None or argument.kind.startswith("json")):
        return None
    return _READERS[argument.kind](text)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be an integer") from None


def _number(text: str) -> float | int:
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise ValueError("must be a number") from None


def _human(text: str) -> int | str:
    return text if is_human_int(text) else _integer(text)


def _human_or_auto(text: str) -> int | str:
    return "auto" if text.lower() == "auto" else _human(text)


def _json(text: str) -> Any:
    parts = _JSON_STRING.split(text)
    parts[::2] = [_HUMAN_NUMBER.sub(lambda match: _plain_number(match[0]), part) for part in parts[::2]]
    try:
        return json.loads("".join(parts))
    except ValueError:
        raise ValueError("must be JSON") from None


def _plain_number(text: str) -> str:
    return str(human_int_value(text)) if is_human_int(text) else text


def _json_mapping_or_text(text: str) -> Any:
    return _json(text) if re.fullmatch(r"\s*{.*}\s*", text, re.DOTALL) else text


def read_dotted_value(text: str) -> Any:
    """Return the value that `text` is for a dotted key: JSON, or a number with a suffix, or text."""
    try:
        return json.loads(text)
    except ValueError:
        return human_int_value(text) if is_human_int(text) else text


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _integer,
    "float": _number,
    "human_int": _human,
    "human_int_or_auto": _human_or_auto,
    "str": str,
    "json": _json,
    "json_or_str": _json_mapping_or_text,
}
