"""The command line's overrides, checked one by one before Hydra sees them, so that every fault is reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mixvllm.config import keys
from mixvllm.config.faults import shown_value, unknown_key
from mixvllm.errors import Fault

COMMAND_LINE = "the command line"

_INTERPOLATION = re.compile(r"\$\{[^'\\]+\}")  # one within another, which Hydra reads in quotes only


@dataclass(frozen=True)
class CheckedOverrides:
    """What Hydra may apply, and what was wrong with the rest.

    Args:
        accepted: overrides in Hydra's syntax, shape (n,).
        keys: the dotted key or group that each accepted one sets, shape (n,).
        faults: one per refused override.
    """

    accepted: tuple[str, ...]
    keys: tuple[str, ...]
    faults: tuple[Fault, ...]


def check_overrides(overrides: Iterable[str], groups: Mapping[str, list[str]]) -> CheckedOverrides:
    """Sort `overrides` into those that Hydra can apply and faults."""
    parser = OverridesParser.create()
    accepted: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for typed in overrides:
        try:
            text, override = _parse(parser, typed)
        except HydraException as error:
            faults.append(Fault("", _unreadable(typed, error), origin=COMMAND_LINE))
            continue
        fault = _fault(override, text, groups)
        if fault is None:
            accepted.append((_for_hydra(override, text, groups), _key_set_by(override)))
        else:
            faults.append(fault)
    return CheckedOverrides(tuple(text for text, _ in accepted), tuple(key for _, key in accepted), tuple(faults))


def _parse(parser: OverridesParser, typed: str) -> tuple[str, Override]:
    """Return what was typed as Hydra reads it; prose for a key that takes text needs no quotes of its own."""
    try:
        return typed, parser.parse_override(typed)
    except HydraException:
        key, _, value = typed.partition("=")
        is_text = keys.is_text(key) and bool(value) and value[0] not in "[{'\"$" and "\\" not in value
        if not is_text and not _INTERPOLATION.fullmatch(value):
            raise
        quoted = "{}='{}'".format(key, value.replace("'", "\\'"))
        return quoted, parser.parse_override(quoted)


def merge_overrides(overrides: Iterable[str]) -> list[str]:
    """Return `overrides` with only the last one of each key, each where its key stood first."""
    merged: dict[str, str] = {}
    for text in overrides:
        merged[text.partition("=")[0].lstrip("+~")] = text
    return list(merged.values())


def _fault(override: Override, text: str, groups: Mapping[str, list[str]]) -> Fault | None:
    key, value = override.key_or_group, text.partition("=")[2]
    shown = shown_value(key, value)
    if key.startswith("hydra."):
        return None
    if override.is_sweep_override():
        words = "a run takes one value; --multirun sweeps several, and one that holds a comma needs quotes"
        return Fault(key, words, shown, COMMAND_LINE)
    if key in groups:
        return _option_fault(override, value, groups[key])
    if override.is_delete() and key in keys.fields():
        return Fault(f"~{key}", f"a key cannot be taken out; {key}=null leaves the choice to vLLM", None, COMMAND_LINE)
    if keys.is_known(key) or _is_extra(override):
        return None
    return Fault(key, _unknown(key, value, groups), shown, COMMAND_LINE)


def _is_extra(override: Override) -> bool:
    """Whether `+section.name=…` gives a vLLM argument that has no key of its own; it is checked with the release."""
    section, _, name = override.key_or_group.partition(".")
    is_unknown = not keys.is_known(override.key_or_group)
    return override.is_add() and bool(name) and f"{section}.extra_args" in keys.fields() and is_unknown


def _key_set_by(override: Override) -> str:
    section, _, name = override.key_or_group.partition(".")
    return f"{section}.extra_args.{name}" if _is_extra(override) else override.key_or_group


def _option_fault(override: Override, value: str, options: list[str]) -> Fault | None:
    if override.is_delete():
        return None
    chosen = override.value()
    listed = f"the options are {', '.join(options)}"
    if not isinstance(chosen, str):
        return Fault(override.key_or_group, f"a group needs the name of an option; {listed}", value, COMMAND_LINE)
    if chosen in options:
        return None
    near = keys.nearest(chosen, options)
    if override.key_or_group == "model" and "/" in chosen:
        listed = f"model=default model.name={chosen} serves any weights; mixvllm models lists the options"
    hint = f"did you mean {near}?" if near else listed
    return Fault(override.key_or_group, f"no such option; {hint}", value, COMMAND_LINE)


def _unknown(key: str, value: str, groups: Mapping[str, list[str]]) -> str:
    """Return what to say of a key that is neither a group nor a known key; a bare word may be a misspelt group."""
    if "." in key:
        return unknown_key(key)
    group = keys.nearest(key, groups) or next((name for name, options in groups.items() if value in options), None)
    near = keys.nearest_key(key)
    if group and (value in groups[group] or near is None):
        return f"unknown group; did you mean {group}={value}?"
    if near:
        return f"unknown key; did you mean {near}?"
    return f"unknown group or key; the groups are {', '.join(name for name in groups if '/' not in name)}"


def _for_hydra(override: Override, text: str, groups: Mapping[str, list[str]]) -> str:
    """Return `text` as Hydra accepts it: known keys need no `+`, entries of mapping fields get `++`."""
    key = override.key_or_group
    if override.is_delete() or key.startswith("hydra."):
        return text
    bare = text.lstrip("+")
    if _is_extra(override):
        return f"++{_key_set_by(override)}={bare.partition('=')[2]}"
    if key in groups:
        return text if "/" in key else bare
    return f"++{bare}" if keys.mapping_of(key) else bare


def _unreadable(typed: str, error: HydraException) -> str:
    key, is_given, value = typed.partition("=")
    if is_given and shown_value(key.lstrip("+~"), value) is None:
        return f"cannot read '{key}=…': put quotes around a value with special characters (it is not shown here)"
    return f"cannot read {typed!r}: {_syntax_hint(typed, error)}"


def _syntax_hint(text: str, error: HydraException) -> str:
    if "=" not in text:
        return "an override is written key=value"
    reason = str(error).splitlines()[0]
    return f"{reason[:1].lower()}{reason[1:]}; put quotes around a value with special characters: \"key='value'\""
