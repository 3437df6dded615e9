"""The launcher of a sweep, from overrides: which one, and its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from mixvllm.config.faults import faults_of
from mixvllm.config.load.overrides import COMMAND_LINE
from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.errors import ConfigError, Fault

LOCAL = "local"

_GROUP = "hydra/launcher"
_OPTION = "hydra.launcher."


def launcher_name(overrides: Sequence[str]) -> str:
    """Return the launcher that `overrides` choose; `local` where they choose none."""
    chosen = [value for key, value in map(_split, overrides) if key == _GROUP]
    return chosen[-1] if chosen else LOCAL


def local_launcher(overrides: Sequence[str]) -> LocalLauncherConfig:
    """Return the options of the launcher `local` that `overrides` give; others for Hydra have no meaning for it.

    Raises:
        ConfigError: an option is not known, or its value is wrong.
    """
    given: dict[str, Any] = {}
    known = ", ".join(f"{_OPTION}{name}" for name in LocalLauncherConfig.model_fields)
    for key, value in map(_split, overrides):
        if key.startswith(_OPTION):
            given[key.removeprefix(_OPTION)] = _value(key, value)
            if key.removeprefix(_OPTION) not in LocalLauncherConfig.model_fields:
                raise ConfigError([Fault(key, f"unknown key; there are {known}", value, COMMAND_LINE)])
        elif key != _GROUP:
            raise ConfigError([Fault(key, f"has no meaning for {_GROUP}={LOCAL}", value, COMMAND_LINE)])
    try:
        return LocalLauncherConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError(
            Fault(f"{_OPTION}{fault.path}", fault.message, fault.value, COMMAND_LINE) for fault in faults_of(error)
        ) from error


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def _value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([Fault(key, "cannot be read; a list is written [0,1]", text, COMMAND_LINE)]) from error
