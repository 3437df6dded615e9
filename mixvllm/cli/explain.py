"""What one key means: for `mixvllm explain`."""

from __future__ import annotations

import re
import textwrap
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mixvllm.config import keys
from mixvllm.config.load.session import shipped_conf
from mixvllm.config.load.settings import options_that_set
from mixvllm.config.schema.fields import LAUNCHER_ONLY, HumanInt, MaxModelLen
from mixvllm.errors import ConfigError, Fault
from mixvllm.vllm.arguments import Argument
from mixvllm.vllm.check import typed_key
from mixvllm.vllm.release import snapshot

_WIDTH = 100
_MAX_OPTIONS = 6
_KIND_WORDS = {
    "switch": "true or false",
    "flag": "true",
    "int": "integer",
    "float": "number",
    "human_int": "integer, or with a suffix (8k, 8K)",
    "human_int_or_auto": "integer, or with a suffix (8k, 8K), or auto",
    "str": "text",
    "json": "mapping or list",
    "json_or_str": "mapping or text",
}


def explain(name: str) -> str:
    """Return what the key, or the vLLM argument, `name` means.

    Raises:
        ConfigError: there is no such key, and no such argument in the supported release.
    """
    wanted = name.lstrip("+-").partition("=")[0]
    argument = snapshot().find(wanted.rpartition(".")[2])
    key = wanted if wanted in keys.fields() else _key_of(wanted, argument)
    if key is not None:
        return _explain_key(key)
    if argument is not None:
        return _explain_argument(argument)
    near = keys.nearest_key(wanted) or keys.nearest(wanted.rpartition(".")[2], snapshot().arguments)
    hint = f"; did you mean {near}?" if near else ""
    raise ConfigError([Fault(name, f"no such key, and no such argument of vLLM {snapshot().version}{hint}")])


def _key_of(wanted: str, argument: Argument | None) -> str | None:
    """Return the key that is meant by an argument's name, or by a leaf that only one section has."""
    if argument is not None and (key := typed_key(argument.name)):
        return key
    same_leaf = [key for key in keys.fields() if key.rpartition(".")[2] == wanted]
    return same_leaf[0] if len(same_leaf) == 1 else None


def _explain_key(key: str) -> str:
    section, _, leaf = key.rpartition(".")
    field = keys.fields()[key]
    argument = None if LAUNCHER_ONLY in field.metadata or not section else snapshot().arguments.get(leaf)
    rows = [
        ("meaning", _comment(section, leaf)),
        ("type", " or ".join(dict.fromkeys(_type_words(field.annotation)))),
        ("default", _default(field, argument)),
        ("vLLM", f"--{leaf.replace('_', '-')}: {argument.help}" if argument else "no argument: the launcher uses it"),
        ("set by", _listed(options_that_set(key))),
    ]
    return _table(key, rows)


def _explain_argument(argument: Argument) -> str:
    section = "server" if argument.group == "Frontend" else "inference"
    choices = ", ".join(map(str, argument.choices)) if argument.choices else ""
    rows = [
        ("meaning", argument.help),
        ("type", ("list of " if argument.is_list else "") + _KIND_WORDS[argument.kind]),
        ("choices", choices),
        ("default", str(argument.default)),
        ("vLLM", f"{', '.join(argument.flags)} ({argument.group}, {snapshot().version})"),
        ("use", f"+{section}.{argument.name}=VALUE, or under {section}.extra_args in YAML"),
    ]
    return _table(argument.name, [(name, text) for name, text in rows if text])


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [
        textwrap.fill(text, _WIDTH, initial_indent=f"  {name:<9}", subsequent_indent=" " * 11, break_on_hyphens=False)
        for name, text in rows
    ]
    return "\n".join([title, *lines])


def _comment(section: str, leaf: str) -> str:
    """Return the words that the group's own file has for the key: `conf/<group>/default.yaml`."""
    own = shipped_conf() / section / "default.yaml"
    file = own if section and own.is_file() else shipped_conf() / "config.yaml"
    found = re.search(rf"^ *{re.escape(leaf)}: .* # (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def _listed(options: list[str]) -> str:
    shown, rest = options[:_MAX_OPTIONS], len(options) - _MAX_OPTIONS
    return "; ".join(shown) + (f"; and {rest} more" if rest > 0 else "") or "no option"


def _default(field: FieldInfo, argument: Argument | None) -> str:
    if field.is_required():
        return "none: it must be given"
    default = field.get_default(call_default_factory=True)
    if default is None and argument is not None:
        return f"null, which is vLLM's own: {argument.default}"
    return "null" if default is None else str(default)


def _type_words(annotation: Any) -> Iterator[str]:
    if annotation in (HumanInt, MaxModelLen):
        yield _KIND_WORDS["human_int"]
        return
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _type_words(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for option in get_args(annotation):
            yield from _type_words(option)
    elif origin is Literal:
        yield "one of " + ", ".join(map(str, get_args(annotation)))
    elif origin is list:
        yield "list"
    else:
        words = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null"}
        yield words.get(annotation, "mapping")
