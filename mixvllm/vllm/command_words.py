"""A command line that starts vLLM, taken apart: the variables that it sets, and the arguments of `vllm serve`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from mixvllm.errors import ConfigError, Fault
from mixvllm.vllm.describe import API_SERVER_MODULE, CLI_MODULE

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_CONTINUATION = re.compile(r"\\\r?\n")
_COMMENT_LINE = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_PROMPT = re.compile(r"^\s*[$%] ")
_OPERATOR = re.compile(r"\d*(>>?|<)(&\d)?.*|&>.*|&&?|\|\|?|;")
_SILENT_PREFIXES = ("env", "export", "exec", "nohup", "&&", ";")
_CONTAINER_PROGRAMS = ("docker", "podman")
_CONTAINER_SWITCHES = (
    "--rm",
    "--detach",
    "--interactive",
    "--tty",
    "--privileged",
    "--init",
    "--read-only",
    "--no-healthcheck",
)


@dataclass(frozen=True)
class CommandWords:
    """What a command line says.

    Args:
        environment: variables that it sets for the server.
        arguments: as after `vllm serve`, shape (n,).
        remarks: what was left out, and why.
    """

    environment: dict[str, str]
    arguments: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def split_command(command: str | Sequence[str]) -> CommandWords:
    """Return what `command` says: words as a shell passes them on, or text as it is typed into one.

    Raises:
        ConfigError: it does not start a vLLM server, as far as it can be read.
    """
    words, remarks = _split(command) if isinstance(command, str) else (list(command), [])
    start = _container_start(words)
    if start is not None:
        return _in_container(words[:start], words[start:], remarks)
    entry = _entry(words)
    if entry is None:
        shown = (
            "vllm serve MODEL …, python -m vllm.entrypoints.openai.api_server --model MODEL …, or docker run … IMAGE …"
        )
        raise ConfigError([Fault("", f"no vLLM server is started in this command line: it must hold {shown}")])
    first, after = entry
    environment, said = _before(words[:first])
    return CommandWords(environment, tuple(words[after:]), (*remarks, *said))


def _split(text: str) -> tuple[list[str], list[str]]:
    """Return the words of the command in `text`, and what is said of the rest."""
    joined = _CONTINUATION.sub(" ", _PROMPT.sub("", _COMMENT_LINE.sub("", text)))
    try:
        words = shlex.split(joined)
    except ValueError as error:
        raise ConfigError([Fault("", f"cannot read the command line: {str(error).lower()}")]) from error
    entry = _entry(words)
    begun = entry[1] if entry else 0
    end = next((at for at in range(begun, len(words)) if _OPERATOR.fullmatch(words[at])), None)
    if end is None:
        return words, []
    return words[:end], ["what follows the command (>, |, & …) was left out: it is the shell's"]


def _entry(words: Sequence[str]) -> tuple[int, int] | None:
    """Return where the program stands in `words`, and where its arguments begin; None where it is not there."""
    for at, word in enumerate(words):
        following = list(words[at + 1 : at + 3])
        if PurePath(word).name == "vllm" and following[:1] == ["serve"]:
            return at, at + 2
        if word == "-m" and following == [CLI_MODULE, "serve"]:
            return max(at - 1, 0), at + 3
        if word == "-m" and following[:1] == [API_SERVER_MODULE]:
            return max(at - 1, 0), at + 2
    return None


def _before(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables that are set before the program, and what is said of other words there."""
    found = [_ASSIGNMENT.fullmatch(word) for word in words]
    environment = {match[1]: match[2] for match in found if match}
    rest = [word for word, match in zip(words, found, strict=True) if not match and word not in _SILENT_PREFIXES]
    return environment, [f"{rest[0]} …, before the command, was left out"] if rest else []


def _container_start(words: Sequence[str]) -> int | None:
    """Return where the options of `docker run` begin, or None where no container is run."""
    pairs = pairwise(words)
    return next(
        (at + 2 for at, (a, b) in enumerate(pairs) if PurePath(a).name in _CONTAINER_PROGRAMS and b == "run"), None
    )


def _in_container(before: Sequence[str], words: Sequence[str], remarks: Sequence[str]) -> CommandWords:
    """Return what a container's command says; the entry point of vLLM's images is `vllm serve`."""
    environment, num_options = _container_options(words)
    arguments = list(words[num_options + 1 :])
    entry = _entry(arguments)
    if entry is not None:
        own, _ = _before(arguments[: entry[0]])
        environment, arguments = {**environment, **own}, arguments[entry[1] :]
    said = "the container itself (image, mounts, ports, GPUs) was left out: runtime=apptainer serves from an image"
    return CommandWords(environment, tuple(arguments[arguments[:1] == ["serve"] :]), (*remarks, said))


def _container_options(words: Sequence[str]) -> tuple[dict[str, str], int]:
    """Return the variables that the options of `docker run` set, and the number of words before the image."""
    environment: dict[str, str] = {}
    at = 0
    while at < len(words) and words[at].startswith("-"):
        name, value, width = _container_option(words, at)
        match = _ASSIGNMENT.fullmatch(value)
        if name in ("-e", "--env") and match:
            environment[match[1]] = match[2]
        at += width
    return environment, at


def _container_option(words: Sequence[str], at: int) -> tuple[str, str, int]:
    """Return name and value of the option that stands `at`, and the number of words that it takes."""
    word = words[at]
    if word.startswith("--"):
        name, is_given, value = word.partition("=")
        is_whole = bool(is_given) or name in _CONTAINER_SWITCHES
    else:
        name, value = word[:2], word[2:].removeprefix("=")
        is_whole = bool(value) or name in ("-i", "-t", "-d")
    if is_whole:
        return name, value, 1
    return name, next(iter(words[at + 1 : at + 2]), ""), 2
