"""The keys that a configuration can have, read from the schema; and the nearest one to a misspelt key."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mixvllm.config.schema import ExperimentConfig

_MIN_SIMILARITY = 0.75
_MIN_ABBREVIATION = 3


@cache
def fields() -> dict[str, FieldInfo]:
    """Return every key that holds a value, by its dotted path (`inference.dtype`), in the schema's order."""
    return dict(_walk(ExperimentConfig, ""))


@cache
def sections() -> tuple[str, ...]:
    """Return the names of the sections (`model`, `inference` …)."""
    return tuple(dict.fromkeys(path.partition(".")[0] for path in fields() if "." in path))


def is_known(path: str) -> bool:
    """Whether the schema has a place for `path`: a field, a section, or an entry of a mapping field."""
    return path in fields() or path in sections() or mapping_of(path) is not None


def mapping_of(path: str) -> str | None:
    """Return the mapping field that `path` is, or is an entry of (`server.env` for `server.env.X`), or None."""
    parts = path.split(".")
    prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return next(
        (prefix for prefix in prefixes if prefix in fields() and _admits(fields()[prefix].annotation, dict)), None
    )


def nearest_key(path: str) -> str | None:
    """Return the known key that a user who wrote `path` most likely meant, or None."""
    section, _, leaf = path.rpartition(".")
    same_leaf = [key for key in fields() if key.rpartition(".")[2] == leaf]
    if len(same_leaf) == 1:
        return same_leaf[0]
    siblings = [key for key in fields() if key.rpartition(".")[0] == section] if section else []
    return _nearest_leaf(leaf, siblings) or nearest(path, fields()) or _nearest_leaf(leaf, fields())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` that is nearest to `word`, or the only one that it begins, or None."""
    known = list(known)
    begun = [entry for entry in known if len(word) >= _MIN_ABBREVIATION and entry.startswith(word)]
    close = difflib.get_close_matches(word, known, n=1, cutoff=_MIN_SIMILARITY)
    return next(iter(close or begun[: len(begun) == 1]), None)


def _nearest_leaf(leaf: str, keys: Iterable[str]) -> str | None:
    by_leaf = {key.rpartition(".")[2]: key for key in reversed(list(keys))}  # the first of several holds
    match = nearest(leaf, by_leaf)
    return by_leaf[match] if match else None


def _walk(model: type[BaseModel], prefix: str) -> Iterable[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def is_text(path: str) -> bool:
    """Whether the key `path` takes text."""
    return path in fields() and _admits(fields()[path].annotation, str)


def _admits(annotation: Any, kind: type) -> bool:
    """Whether a field of this annotation takes a value of `kind`."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(_admits(option, kind) for option in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _admits(get_args(annotation)[0], kind)
    return (get_origin(annotation) or annotation) is kind
