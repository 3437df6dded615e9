"""Pydantic's validation errors as faults in the project's own words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mixvllm.config import keys
from mixvllm.config.schema.rules import RuleViolations
from mixvllm.errors import Fault

_MAX_SHOWN = 80
_NEVER_SHOWN = ("server.api_key", "server.env")
"""Keys whose wrong value may be a secret that was put there by mistake."""
_SECRET_NAME = re.compile(r"token|secret|passw|credential|key", re.IGNORECASE)
_SECRET_ENTRY = re.compile(rf"({_SECRET_NAME.pattern})\w*[\"']?\s*:", re.IGNORECASE)


def faults_of(error: ValidationError) -> list[Fault]:
    """Return one fault per rejected key, in the order of the schema; several reasons for one key are joined."""
    reasons: dict[str, list[str]] = {}
    values: dict[str, str | None] = {}
    faults: list[Fault] = []
    for detail in error.errors(include_url=False):
        violations = detail.get("ctx", {}).get("error")
        if isinstance(violations, RuleViolations):
            faults.extend(violations.faults)
            continue
        path = config_path(detail["loc"])
        reasons.setdefault(path, []).append(_reason(path, detail))
        values[path] = None if detail["type"] == "missing" else shown_value(path, detail["input"])
    faults.extend(Fault(path, _joined(parts), values[path]) for path, parts in reasons.items())
    return faults


def config_path(loc: Iterable[int | str]) -> str:
    """Return the dotted key for Pydantic's `loc`, without the parts that only name a branch of a union."""
    path = ""
    for part in loc:
        candidate = f"{path}.{part}" if path else str(part)
        if path in keys.fields() and keys.mapping_of(path) is None:
            break
        if path and keys.mapping_of(path) and str(part).startswith("dict["):
            continue
        path = candidate
    return path


def shown_value(path: str, value: object) -> str | None:
    """Return `value` of the key `path` for a message; None where it may be a secret, as far as names tell.

    Names that are not the schema's own are misspelt ones too (`server.apikey`), so less will do.
    """
    may_be_secret = path not in keys.fields() and _SECRET_NAME.search(path.rpartition(".")[2])
    if path in _NEVER_SHOWN or may_be_secret or _SECRET_ENTRY.search(str(value)):
        return None
    return show_value(value)


def show_value(value: object) -> str:
    """Return `value` as YAML would have it, cut where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _joined(reasons: list[str]) -> str:
    """Return the reasons of one key as one; a value that fits no branch of a union has one per branch."""
    first, *rest = dict.fromkeys(reasons)
    return " or ".join([first, *(reason.removeprefix("must be ") for reason in rest)])


def _reason(path: str, detail: ErrorDetails) -> str:
    say = _REASONS.get(detail["type"])
    if say is None:
        return detail["msg"][:1].lower() + detail["msg"][1:]
    return say(path, detail.get("ctx", {}), detail["input"])


def unknown_key(path: str) -> str:
    """Return what to say of a key that the schema does not have."""
    near = keys.nearest_key(path)
    if near:
        return f"unknown key; did you mean {near}?"
    section = path.partition(".")[0]
    if section not in keys.sections():
        return f"unknown key; the sections are {', '.join(keys.sections())}"
    if keys.is_known(f"{section}.extra_args"):
        return f"unknown key; if it is a vLLM argument: +{path}=VALUE, or under {section}.extra_args"
    known = [key.partition(".")[2] for key in keys.fields() if key.startswith(f"{section}.")]
    return f"unknown key; {section} has {', '.join(known)}"


def _choices(_path: str, ctx: Mapping[str, Any], value: object) -> str:
    expected = str(ctx["expected"]).replace("'", "").replace(" or ", ", ")
    near = keys.nearest(str(value), expected.split(", "))
    return f"must be one of {expected}" + (f"; did you mean {near}?" if near else "")


_REASONS: dict[str, Callable[[str, Mapping[str, Any], object], str]] = {
    "extra_forbidden": lambda path, _ctx, _value: unknown_key(path),
    "missing": lambda path, _ctx, _value: f"must be given: {path}=VALUE",
    "literal_error": _choices,
    "int_type": lambda *_: "must be an integer",
    "int_from_float": lambda *_: "must be an integer",
    "float_type": lambda *_: "must be a number",
    "finite_number": lambda *_: "must be a finite number",
    "bool_type": lambda *_: "must be true or false",
    "string_type": lambda *_: "must be text",
    "string_too_short": lambda *_: "must not be empty",
    "list_type": lambda *_: "must be a list",
    "dict_type": lambda *_: "must be a mapping",
    "model_type": lambda path, *_: f"must be a mapping of keys, as conf/{path}/default.yaml has them",
    "greater_than_equal": lambda _path, ctx, _value: f"must be at least {ctx['ge']:g}",
    "greater_than": lambda _path, ctx, _value: f"must be greater than {ctx['gt']:g}",
    "less_than_equal": lambda _path, ctx, _value: f"must be at most {ctx['le']:g}",
    "value_error": lambda _path, ctx, _value: str(ctx["error"]),
}
