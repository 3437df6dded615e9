"""Plain YAML profiles without Hydra: one file is one server; values given on a command line go over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixvllm.config import keys
from mixvllm.config.faults import faults_of, shown_value, unknown_key
from mixvllm.config.schema import ServeConfig
from mixvllm.config.yaml_file import load_yaml
from mixvllm.errors import ConfigError, Fault

SHORT_NAMES = {
    "model": "model.name",
    "gpus": "inference.tensor_parallel_size",
    "gpu_memory": "inference.gpu_memory_utilization",
    "max_model_len": "inference.max_model_len",
    "dtype": "inference.dtype",
    "quantization": "inference.quantization",
    "trust_remote_code": "model.trust_remote_code",
    "host": "server.host",
    "port": "server.port",
    "workers": "server.api_server_count",
    "temperature": "generation.temperature",
    "max_tokens": "generation.max_tokens",
    "top_p": "generation.top_p",
    "top_k": "generation.top_k",
    "presence_penalty": "generation.presence_penalty",
    "frequency_penalty": "generation.frequency_penalty",
}
"""Names that a command line may use for a dotted path."""


def load_yaml_config(path: str | Path) -> ServeConfig:
    """Return the server that the YAML file at `path` describes, in the sections of `ServeConfig`.

    Raises:
        ConfigError: the file cannot be read, is no mapping, holds a key twice, or a value is wrong.
    """
    file = Path(path)
    values = load_yaml(file)
    if not isinstance(values, dict):
        raise ConfigError([Fault(str(file), "must be a mapping with a section 'model'")])
    return _validated(values, str(file))


def merge_configs(base: ServeConfig, cli_args: Mapping[str, Any]) -> ServeConfig:
    """Return `base` with the values of `cli_args` over it, validated again.

    Args:
        base: any validated configuration.
        cli_args: by short name (`gpus`, see `SHORT_NAMES`) or dotted path; None means "not given".

    Raises:
        ConfigError: a name is unknown, or the result is not valid.
    """
    given = {name: value for name, value in cli_args.items() if value is not None}
    unknown = [name for name in given if SHORT_NAMES.get(name, name) not in keys.fields() and not keys.mapping_of(name)]
    if unknown:
        raise ConfigError(
            Fault(name, _unknown(name), shown_value(name, given[name]), "the command line") for name in unknown
        )
    values = base.model_dump()
    for name, value in given.items():
        _put(values, SHORT_NAMES.get(name, name).split("."), value)
    return _validated(values, "the command line", type(base))


def _validated(values: dict[str, Any], origin: str, kind: type[ServeConfig] = ServeConfig) -> ServeConfig:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(replace(fault, origin=origin) for fault in faults_of(error)) from error


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        values[part] = values.get(part) or {}
        values = values[part]
    values[path[-1]] = value


def _unknown(name: str) -> str:
    near = keys.nearest(name, SHORT_NAMES)
    return f"unknown name; did you mean {near}?" if near else unknown_key(name)
