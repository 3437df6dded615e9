"""Reads the arguments of a `vllm serve` command line as vLLM's own parser does.

Source: `FlexibleArgumentParser` of vLLM 0.32, over Python's argparse.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixvllm.config.faults import show_value
from mixvllm.config.schema import ModelConfig, ServeConfig
from mixvllm.errors import Fault
from mixvllm.vllm.argument_text import read_dotted_value, read_value
from mixvllm.vllm.arguments import Argument, Release
from mixvllm.vllm.check import check_release

_MODEL = Argument("model", ("--model",), "str", False, False, None, None, "ModelConfig", "")
"""Not in a release's description: vLLM has it as a positional argument too."""
_OPTIONAL_VALUE = ("hf_token",)
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")


@dataclass
class Reading:
    """What was read.

    Args:
        values: by vLLM's name of the argument; what was given twice has the last value, as in vLLM.
        faults: one per argument that cannot be read; a word whose meaning is not known is not shown, it may be a key.
    """

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def read_arguments(words: Sequence[str], release: Release) -> Reading:
    """Return the values in `words`, the arguments after `vllm serve`."""
    reader = _Reader(release)
    rest = deque(_with_levels(words))
    while rest:
        reader.take(rest)
    return reader.finish()


class _Reader:
    def __init__(self, release: Release) -> None:
        self._release = release
        arguments = [*release.arguments.values(), _MODEL]
        self._flags = {flag: argument for argument in arguments for flag in argument.flags}
        self._reading = Reading()
        self._dotted: dict[str, dict[str, Any]] = {}
        self._models: list[str] = []

    def take(self, rest: deque[str]) -> None:
        """Read the first word of `rest`, and those that belong to it."""
        word = rest.popleft()
        if not _is_flag(word):
            self._models.append(word)
            return
        name, is_given, text = word.partition("=")
        stem, _, path = name.partition(".")
        flag, attached = self._find(stem)
        given = attached or (text if is_given else None)
        if flag is None:
            self._refuse(stem, rest)
        elif path:
            self._take_dotted(flag, path, self._texts(flag, given, rest))
        else:
            self._take_value(flag, self._texts(flag, given, rest), given)

    def finish(self) -> Reading:
        """Return what was read; dotted keys come after all else, and replace a value of their argument."""
        for flag, mapping in self._dotted.items():
            self._reading.values[self._flags[flag].name] = mapping
        self._settle_model()
        return self._reading

    def _find(self, stem: str) -> tuple[str | None, str | None]:
        """Return the flag that `stem` is, or the only one that it begins; and a value that is attached to it."""
        spelt = stem.replace("_", "-") if stem.startswith("--") else stem
        if spelt in self._flags:
            return spelt, None
        if not stem.startswith("--"):
            return (stem[:2], stem[2:]) if stem[:2] in self._flags else (None, None)
        begun = [flag for flag in self._flags if flag.startswith(spelt)]
        return (begun[0], None) if len(begun) == 1 else (None, None)

    def _texts(self, flag: str, given: str | None, rest: deque[str]) -> list[str]:
        argument = self._flags[flag]
        if given is not None:
            return [given]
        if argument.kind in ("switch", "flag"):
            return []
        texts: list[str] = []
        while rest and not _is_flag(rest[0]) and (argument.is_list or not texts):
            texts.append(rest.popleft())
        return texts

    def _take_value(self, flag: str, texts: list[str], given: str | None) -> None:
        argument = self._flags[flag]
        if argument.kind in ("switch", "flag"):
            if given is not None:
                self._fault(flag, "takes no value")
            self._reading.values[argument.name] = not flag.startswith("--no-")
        elif not texts and argument.name not in _OPTIONAL_VALUE:
            self._fault(flag, "needs a value")
        else:
            self._set(flag, argument, texts)

    def _set(self, flag: str, argument: Argument, texts: list[str]) -> None:
        try:
            found = [read_value(argument, text) for text in texts]
        except ValueError as error:
            self._fault(flag, str(error), show_value(" ".join(texts)))
            return
        values = [value for value in found if value is not None]
        problem = argument.problem_with(values[0] if len(values) == 1 else values) if values else None
        if problem:
            self._fault(flag, problem, show_value(" ".join(texts)))
        elif argument.is_repeated:
            self._reading.values[argument.name] = [*self._reading.values.get(argument.name, []), *values]
        elif argument.is_list:
            self._reading.values[argument.name] = values or None
        else:
            self._reading.values[argument.name] = values[0] if values else None

    def _take_dotted(self, flag: str, path: str, texts: list[str]) -> None:
        if not texts:
            self._fault(f"{flag}.{path}", "needs a value")
        elif not self._flags[flag].kind.startswith("json"):
            self._fault(f"{flag}.{path}", f"has no keys: {flag} takes one value")
        else:
            value = texts[0].split(",") if path.endswith("+") else read_dotted_value(texts[0])
            update = _nested(path.removesuffix("+").split("."), value)
            _merge(self._dotted.setdefault(flag, {}), update)

    def _refuse(self, stem: str, rest: deque[str]) -> None:
        """Say that there is no such argument; its values are skipped, and not shown."""
        while rest and not _is_flag(rest[0]):
            rest.popleft()
        name = stem.lstrip("-").replace("-", "_")
        without = name.removeprefix("no_")
        config = ServeConfig(model=ModelConfig(name="m", extra_args={without: True}))
        message = next((fault.message for fault in check_release(config, self._release)), "takes no such form")
        self._fault(stem, message)

    def _settle_model(self) -> None:
        named = self._reading.values.get("model")
        models = [*self._models, *([named] if named else [])]
        if len(models) > 1:
            words = "is given twice" if named else "the command line has words that belong to no argument"
            self._fault("", f"{words}: one model is served")
        if models:
            self._reading.values["model"] = models[0]
        elif not self._reading.faults:
            self._fault("", "the command line names no model")

    def _fault(self, path: str, message: str, value: str | None = None) -> None:
        self._reading.faults.append(Fault(path, message, value))


def _with_levels(words: Sequence[str]) -> Iterator[str]:
    """Yield `words` with `-O3`, `-O=3` and `-O 3` as vLLM reads them."""
    for at, word in enumerate(words):
        if word.startswith("-O") and word != "-O":
            yield f"--optimization-level={word[2:].removeprefix('=')}"
        elif word == "-O" and list(words[at + 1 : at + 2]) in [[level] for level in "0123"]:
            yield "--optimization-level"
        else:
            yield word


def _is_flag(word: str) -> bool:
    """Whether argparse takes `word` for a flag: not a negative number, and not a text with spaces."""
    is_text = " " in word.partition("=")[0]
    return word.startswith("-") and len(word) > 1 and not _NEGATIVE_NUMBER.fullmatch(word) and not is_text


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    first, *deeper = path
    return {first: _nested(deeper, value) if deeper else value}


def _merge(mapping: dict[str, Any], update: dict[str, Any]) -> None:
    """Put `update` into `mapping`: mappings are merged, lists continued, anything else is replaced."""
    for key, value in update.items():
        known = mapping.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, list) and isinstance(known, list):
            known.extend(value)
        else:
            mapping[key] = value
