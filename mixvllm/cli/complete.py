"""What a shell may complete an override to: groups and keys, then options and choices."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

from mixvllm.config import keys
from mixvllm.config.load.session import groups, hydra_session
from mixvllm.vllm.release import snapshot


def complete_override(incomplete: str) -> list[str]:
    """Return what `incomplete` may become: `mod` `model=`, `model=ll` `model=llama3_8b`, `+inference.sch` …"""
    name, equals, _ = incomplete.partition("=")
    candidates = _values(name) if equals else _names(incomplete)
    return [candidate for candidate in candidates if candidate.startswith(incomplete)]


def _names(incomplete: str) -> list[str]:
    if incomplete.startswith("+"):
        section = incomplete[1:].partition(".")[0]
        return [f"+{section}.{argument}=" for argument in snapshot().arguments]
    with hydra_session() as loader:
        return [f"{group}=" for group in groups(loader) if "/" not in group] + [f"{key}=" for key in keys.fields()]


def _values(name: str) -> list[str]:
    if name in keys.fields():
        return [f"{name}={choice}" for choice in _choices(keys.fields()[name].annotation)]
    with hydra_session() as loader:
        return [f"{name}={option}" for option in groups(loader).get(name, [])]


def _choices(annotation: object) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for option in get_args(annotation) for choice in _choices(option)]
