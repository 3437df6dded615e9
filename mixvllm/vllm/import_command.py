"""Turns a command line that starts vLLM into the configuration that means the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from mixvllm.config.faults import faults_of
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.generation import SERVER_DEFAULTS
from mixvllm.config.schema.server import ServerConfig, is_secret_name
from mixvllm.errors import ConfigError, Fault
from mixvllm.vllm.arguments import Release
from mixvllm.vllm.check import TAKEN, check_release, problem_with_variable, typed_key
from mixvllm.vllm.command_words import split_command
from mixvllm.vllm.environment import API_KEY_VARIABLE
from mixvllm.vllm.override_text import write_value
from mixvllm.vllm.read_arguments import read_arguments

_SECRETS = {
    "api_key": "--api-key was left out, a key does not belong in a command line: put it in a variable "
    "and give server.api_key=env:NAME, or in a file and give server.api_key=file:PATH",
    "hf_token": "--hf-token was left out: export HF_TOKEN in your shell, the engine inherits it",
}

_VLLM_PORT = 8000
_OPEN_HOST = "0.0.0.0"  # noqa: S104 - what vLLM does where no host is given
_SHELL_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class ImportedCommand:
    """A command line as configuration.

    Args:
        values: by dotted key (`inference.extra_args.max_loras`), over `model=default`.
        remarks: what could not be carried over or differs, and what to do about it.
    """

    values: Mapping[str, Any]
    remarks: tuple[str, ...]

    @property
    def overrides(self) -> list[str]:
        """The values in Hydra's syntax, shape (n,).

        Raises:
            ConfigError: a mapping has keys that an override cannot hold.
        """
        written: list[str] = ["model=default"]
        faults: list[Fault] = []
        for path, value in self.values.items():
            try:
                written.append(f"{_override_key(path)}={write_value(value)}")
            except ValueError as error:
                faults.append(Fault(path, f"{error}; a YAML file can hold it: --yaml"))
        if faults:
            raise ConfigError(faults)
        return written


def import_command(command: str | Sequence[str], release: Release) -> ImportedCommand:
    """Return the configuration that means what `command` does. Pure; secrets are never in it.

    Args:
        command: words as a shell passes them on, or text as it is typed into one.
        release: what the flags are read by.

    Raises:
        ConfigError: with every flag that `release` does not take, and every value that would be refused.
    """
    words = split_command(command)
    reading = read_arguments(words.arguments, release)
    given = {name: value for name, value in reading.values.items() if value is not None}
    values = {**_values(given, release), **_environment(words.environment, release)}
    faults = [*reading.faults, *(_refusals(values, release) if "model.name" in values else ())]
    if faults:
        raise ConfigError(faults)
    left_out = (problem for name in words.environment if (problem := _problem_with(name, release)))
    unexpanded = _unexpanded(values) if isinstance(command, str) else ()
    remarks = (*words.remarks, *_remarks(reading.values, values), *left_out, *unexpanded)
    return ImportedCommand(values, remarks)


def _values(given: Mapping[str, Any], release: Release) -> dict[str, Any]:
    """Return the values of `given`, by dotted key, and what vLLM does where the line says nothing."""
    values: dict[str, Any] = {}
    for name, value in sorted(given.items(), key=lambda item: item[0] != "model"):
        values.update(_placed(name, value, release))
    if values.get("model.trust_remote_code") and not _is_pinned(values):
        values["model.trust_unpinned_code"] = True
    return {**values, "server.host": given.get("host", _OPEN_HOST), "server.port": given.get("port", _VLLM_PORT)}


def _placed(name: str, value: Any, release: Release) -> Iterator[tuple[str, Any]]:
    if name in _SECRETS:
        return
    if name == "override_generation_config":
        yield from ((f"generation.{key}", value[key]) for key in SERVER_DEFAULTS if key in value)
    elif name == "served_model_name" and len(value) == 1:
        yield TAKEN[name], value[0]
    elif key := TAKEN.get(name) or typed_key(name):
        yield key, value
    else:
        section = "server" if release.arguments[name].group == "Frontend" else "inference"
        yield f"{section}.extra_args.{name}", value


def _is_pinned(values: Mapping[str, Any]) -> bool:
    name = str(values.get("model.name"))
    return "model.revision" in values or name.startswith(("/", "./", "../", "~"))


def _environment(environment: Mapping[str, str], release: Release) -> dict[str, str]:
    return {f"server.env.{name}": text for name, text in environment.items() if not _problem_with(name, release)}


def _problem_with(name: str, release: Release) -> str | None:
    """Return why the variable `name` cannot be carried over, or None."""
    if is_secret_name(name):
        use = f"or give server.api_key=env:{name}" if name == API_KEY_VARIABLE else "the engine inherits it"
        return f"{name} was left out, a secret does not belong in a configuration: export it in your shell, {use}"
    problem = problem_with_variable(name, release)
    return f"{name} was left out: it {problem}" if problem else None


def _refusals(values: Mapping[str, Any], release: Release) -> list[Fault]:
    """Return why the configuration would be refused, by flag where a flag is the cause."""
    try:
        faults = check_release(ServeConfig.model_validate(nested(values)), release)
    except ValidationError as error:
        faults = faults_of(error)
    return [replace(fault, path=_flag(fault.path, release)) for fault in faults]


def _flag(path: str, release: Release) -> str:
    """Return the flag that set the key `path`, where its name is vLLM's."""
    name = path.rpartition(".")[2]
    return f"--{name.replace('_', '-')}" if name in release.arguments else path


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, by dotted key, as a mapping of sections."""
    sections: dict[str, Any] = {}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        section = sections
        for parent in parents:
            section = section.setdefault(parent, {})
        section[leaf] = value
    return sections


def _override_key(path: str) -> str:
    section, _, name = path.partition(".extra_args.")
    return f"+{section}.{name}" if name else path


def _remarks(given: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    yield from (words for name, words in _SECRETS.items() if name in given)
    lost = sorted(set(given.get("override_generation_config") or {}) - set(SERVER_DEFAULTS))
    if lost:
        yield f"--override-generation-config was carried over without {', '.join(lost)}: generation has no such keys"
    if "model.trust_unpinned_code" in values:
        yield "--trust-remote-code runs code that can change: model.revision=COMMIT pins it"
    if given.get("host") is None:
        yield (
            "without --host vLLM listens on all interfaces, so server.host=0.0.0.0 does: "
            "leave it out to serve this machine only"
        )
    if not ServerConfig(host=values["server.host"]).is_loopback and "api_key" not in given:
        yield "others can reach the host, so a key is generated that clients must send; it is shown at the start"


def _unexpanded(values: Mapping[str, Any]) -> Iterator[str]:
    names = dict.fromkeys(_SHELL_VARIABLE.findall(json.dumps(dict(values))))
    if names:
        yield f"not expanded, as no shell has read the text: {', '.join(names)}; give the command as words, after --"
