"""The arguments of `vllm serve` as data: what values each takes, and how a value is written for vLLM's parser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.config import keys
from mixvllm.config.schema.fields import is_human_int


@dataclass(frozen=True)
class Argument:
    """One argument.

    Args:
        name: as vLLM's namespace has it, e.g. `kv_cache_dtype`; also the key in a configuration.
        flags: all spellings on a command line, shape (n,), n >= 1.
        kind: `switch` (on and off), `flag` (on only), `int`, `float`, `human_int` (8k), `human_int_or_auto`, `str`,
            `json`, `json_or_str`.
        is_list: takes one or more values of its kind.
        is_repeated: takes one value, and may be given several times.
        choices: the values it takes; None where any of its kind will do.
        default: as vLLM has it.
        group: the part of vLLM that it configures.
        help: vLLM's own words.
    """

    name: str
    flags: tuple[str, ...]
    kind: str
    is_list: bool
    is_repeated: bool
    choices: tuple[Any, ...] | None
    default: Any
    group: str
    help: str

    def problem_with(self, value: Any) -> str | None:
        """Return what is wrong with `value`, or None where vLLM's parser takes it."""
        if value is None:
            return None
        if not (self.is_list or self.is_repeated):
            return self._problem_with_one(value)
        many = value if isinstance(value, list) else [value]
        if not many:
            return "must have at least one entry; null leaves it out"
        return next((problem for one in many if (problem := self._problem_with_one(one))), None)

    def render(self, value: Any) -> list[str]:
        """Return the arguments by which vLLM's parser reads `value` back; none for null."""
        if value is None or (self.kind == "flag" and value is False):
            return []
        flag = f"--{self.name.replace('_', '-')}"
        if self.kind in ("switch", "flag"):
            return [flag if value else flag.replace("--", "--no-", 1)]
        many = value if isinstance(value, list) and (self.is_list or self.is_repeated) else [value]
        texts = [self._written(one) for one in many]
        if self.is_repeated:
            return [part for text in texts for part in _pair(flag, text)]
        return _pair(flag, texts[0]) if len(texts) == 1 else [flag, *texts]

    def _problem_with_one(self, value: Any) -> str | None:
        is_right, words = _KINDS[self.kind]
        if not is_right(value):
            return f"must be {words}"
        if self.choices is not None and value not in self.choices:
            shown = ", ".join(str(choice) for choice in self.choices if choice is not None)
            near = keys.nearest(str(value), map(str, self.choices))
            return f"must be one of {shown}" + (f"; did you mean {near}?" if near else "")
        return None

    def _written(self, value: Any) -> str:
        if self.kind == "json" or (self.kind == "json_or_str" and not isinstance(value, str)):
            return json.dumps(value, separators=(",", ":"))
        return str(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_human_int(value: Any) -> bool:
    return _is_int(value) or (isinstance(value, str) and is_human_int(value))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "switch": (lambda value: isinstance(value, bool), "true or false"),
    "flag": (lambda value: isinstance(value, bool), "true or false"),
    "int": (_is_int, "an integer"),
    "float": (lambda value: _is_int(value) or isinstance(value, float), "a number"),
    "human_int": (_is_human_int, "an integer, with a suffix if you like: 8192, 8k, 8K"),
    "human_int_or_auto": (lambda value: value == "auto" or _is_human_int(value), "an integer (8192, 8k, 8K) or auto"),
    "str": (lambda value: isinstance(value, str) or _is_int(value) or isinstance(value, float), "text"),
    "json": (lambda value: isinstance(value, (dict, list)), "a mapping or a list"),
    "json_or_str": (lambda value: isinstance(value, (dict, str)), "a mapping or text"),
}


@dataclass(frozen=True)
class Release:
    """What one release of vLLM accepts.

    Args:
        version: e.g. `0.32.0`.
        is_snapshot: whether this is what mixvllm ships, not what the serving interpreter said.
        arguments: by name.
        environment: names of the variables that it reads.
    """

    version: str
    is_snapshot: bool
    arguments: Mapping[str, Argument]
    environment: frozenset[str]

    def find(self, name: str) -> Argument | None:
        """Return the argument that is called `name`, or has it as another spelling (`tp`, `device-memory-…`)."""
        spelt = name.replace("-", "_")
        if spelt in self.arguments:
            return self.arguments[spelt]
        return next((argument for argument in self.arguments.values() if spelt in _spellings(argument.flags)), None)


def read_release(described: Mapping[str, Any], *, is_snapshot: bool) -> Release:
    """Return the release that `dump_release.py` described.

    Raises:
        KeyError, TypeError: it is not such a description.
    """
    arguments = {
        name: Argument(
            name=name,
            flags=tuple(fields["flags"]),
            kind=fields["kind"],
            is_list=fields["is_list"],
            is_repeated=fields["is_repeated"],
            choices=None if fields["choices"] is None else tuple(fields["choices"]),
            default=fields["default"],
            group=fields["group"],
            help=fields["help"],
        )
        for name, fields in described["arguments"].items()
    }
    return Release(described["release"], is_snapshot, arguments, frozenset(described["environment"]))


def _spellings(flags: Iterable[str]) -> set[str]:
    return {flag.lstrip("-").replace("-", "_") for flag in flags if not flag.startswith("--no-")}


def _pair(flag: str, text: str) -> list[str]:
    """Return flag and value; as one argument where the value would be taken for a flag."""
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
