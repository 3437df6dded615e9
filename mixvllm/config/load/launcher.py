"""The launcher of a sweep: which one, and its options, from overrides and, for a cluster's profile, from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from mixvllm.config import keys
from mixvllm.config.faults import faults_of
from mixvllm.config.load.overrides import COMMAND_LINE
from mixvllm.config.load.session import CONFIG_NAME, hydra_session, source_folders
from mixvllm.config.schema.fields import Section
from mixvllm.config.schema.launcher import LocalLauncherConfig, SlurmLauncherConfig
from mixvllm.errors import ConfigError, Fault

LOCAL = "local"
SLURM = "slurm"

_MAX_LISTED = 10
_GROUP = "hydra/launcher"
_OPTION = "hydra.launcher."
_Options = TypeVar("_Options", bound=Section)


def launcher_name(overrides: Sequence[str]) -> str:
    """Return the launcher that `overrides` choose; `local` where they choose none."""
    chosen = [value for key, value in map(_split, overrides) if key == _GROUP]
    return chosen[-1] if chosen else LOCAL


def launcher_kind(
    overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()
) -> Literal["local", "slurm", "hydra"]:
    """Return whose the launcher is that `overrides` choose; one in a user's file is that which the file extends.

    Raises:
        ConfigError: that file cannot be composed.
    """
    name = launcher_name(overrides)
    if name in (LOCAL, SLURM):
        return "local" if name == LOCAL else "slurm"
    with hydra_session(config_dirs) as loader:
        if not any((folder / _GROUP / f"{name}.yaml").is_file() for folder in source_folders(loader)):
            return "hydra"
    return "slurm" if _file_values(name, config_dirs).get("kind") == SLURM else "hydra"


def local_launcher(overrides: Sequence[str]) -> LocalLauncherConfig:
    """Return the options of the launcher `local` that `overrides` give; others for Hydra have no meaning for it.

    Raises:
        ConfigError: an option is not known, or its value is wrong.
    """
    return _validated({}, overrides, LocalLauncherConfig)


def slurm_launcher(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> SlurmLauncherConfig:
    """Return the options of the launcher `slurm`, or of the cluster whose file extends it, with `overrides`.

    Raises:
        ConfigError: an option is not known, or its value is wrong.
    """
    name = launcher_name(overrides)
    return _validated({} if name in (LOCAL, SLURM) else _file_values(name, config_dirs), overrides, SlurmLauncherConfig)


def _file_values(name: str, config_dirs: Sequence[str | Path]) -> dict[str, Any]:
    """Return what Hydra composes for the launcher `name`."""
    try:
        with hydra_session(config_dirs):
            composed = hydra.compose(CONFIG_NAME, [f"{_GROUP}={name}"], return_hydra_config=True)
            values = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError([Fault(_GROUP, str(error).partition("\n")[0], name, COMMAND_LINE)]) from error
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def _validated(values: dict[str, Any], overrides: Sequence[str], schema: type[_Options]) -> _Options:
    faults = list(_without_meaning(overrides, schema))
    if faults:
        raise ConfigError(faults)
    given = {key.removeprefix(_OPTION): _value(key, text) for key, text in _options(overrides)}
    for name, value in given.items():
        section, _, entry = name.partition(".")
        values = {**values, section: {**(values.get(section) or {}), entry: value} if entry else value}
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_fault(fault, given) for fault in faults_of(error)) from error


def _without_meaning(overrides: Sequence[str], schema: type[Section]) -> Iterator[Fault]:
    name = LOCAL if schema is LocalLauncherConfig else SLURM
    for key, value in map(_split, overrides):
        if key.startswith(_OPTION):
            if key.removeprefix(_OPTION).partition(".")[0] not in schema.model_fields:
                yield Fault(key, f"unknown key; {_known(key, schema)}", value, COMMAND_LINE)
        elif key != _GROUP:
            yield Fault(key, f"has no meaning for {_GROUP}={name}", value, COMMAND_LINE)


def _known(key: str, schema: type[Section]) -> str:
    known = [f"{_OPTION}{name}" for name in schema.model_fields]
    near = keys.nearest(key, known)
    return f"did you mean {near}?" if near and len(known) > _MAX_LISTED else f"there are {', '.join(known)}"


def _options(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in map(_split, overrides) if key.startswith(_OPTION))


def _fault(fault: Fault, given: dict[str, Any]) -> Fault:
    section = fault.path.partition(".")[0]
    is_typed = any(name.partition(".")[0] == section for name in given)
    path = f"{_OPTION}{fault.path}" if fault.path else ""
    return Fault(path, fault.message, fault.value, COMMAND_LINE if is_typed or not fault.path else None)


def _split(override: str) -> tuple[str, str]:
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def _value(key: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([Fault(key, "cannot be read; a list is written [0,1]", text, COMMAND_LINE)]) from error
