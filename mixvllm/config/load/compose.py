"""From overrides to a validated configuration, with every fault found on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from mixvllm.config import keys
from mixvllm.config.faults import faults_of
from mixvllm.config.load.hydra_tree import compose_tree
from mixvllm.config.load.origin import origin_of, origin_of_option, shown
from mixvllm.config.load.overrides import CheckedOverrides, check_overrides
from mixvllm.config.load.session import groups, hydra_session
from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import ConfigError, Fault


@dataclass(frozen=True)
class Composed:
    """A validated configuration and the overrides that made it.

    Args:
        config: frozen.
        overrides: as the user gave them, shape (n,).
        config_dirs: the user's own folders.
    """

    config: ExperimentConfig
    overrides: tuple[str, ...]
    config_dirs: tuple[str | Path, ...] = ()

    @contextmanager
    def naming_origins(self) -> Iterator[None]:
        """Add to faults that are found later, by the vLLM that would serve, where each value came from."""
        try:
            yield
        except ConfigError as error:
            with hydra_session(self.config_dirs) as loader:
                checked = check_overrides(self.overrides, groups(loader))
                raise ConfigError(with_origins(list(error.faults), checked, loader)) from error


def compose(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> ExperimentConfig:
    """Return the validated configuration of one run.

    Args:
        overrides: in Hydra's syntax, e.g. `["model=demo", "inference.max_num_seqs=64"]`, shape (n,).
        config_dirs: folders with options of your own; they come before the shipped ones.

    Raises:
        ConfigError: with every fault that was found.
    """
    return load_experiment(overrides, config_dirs).config


def load_experiment(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> Composed:
    """Return what `overrides` compose to; see `compose`."""
    with hydra_session(config_dirs) as loader:
        checked = check_overrides(overrides, groups(loader))
        composed = compose_checked(checked, loader)
        config, faults = validate_tree(composed)
        if config is None or checked.faults:
            raise ConfigError([*checked.faults, *with_origins(faults, checked, loader)])
    return Composed(config, tuple(overrides), tuple(config_dirs))


def compose_checked(checked: CheckedOverrides, loader: ConfigLoader) -> DictConfig:
    """Return what Hydra composes, which fails on files that are broken or name each other wrongly."""
    try:
        return compose_tree(checked.accepted, loader)
    except ConfigError as error:
        raise ConfigError([*checked.faults, *error.faults]) from error
    except RecursionError as error:
        raise ConfigError([*checked.faults, Fault("", "not valid YAML: a file is nested too deeply")]) from error
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise ConfigError([*checked.faults, _composition_fault(error, checked, loader)]) from error


def validate_tree(composed: DictConfig) -> tuple[ExperimentConfig | None, list[Fault]]:
    """Return the configuration, or None and the faults in its values."""
    faults = _blanked(composed, _unresolvable(composed)) + _blanked(composed, _missing(composed))
    values: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    try:
        config = ExperimentConfig.model_validate(values)
    except ValidationError as error:
        known = {fault.path for fault in faults}
        return None, faults + [fault for fault in faults_of(error) if fault.path not in known]
    return (None, faults) if faults else (config, [])


def _blanked(composed: DictConfig, faults: Iterable[Fault]) -> list[Fault]:
    """Return `faults`, with null put where they are, so that the rest of the configuration can be checked too."""
    found = list(faults)
    for fault in found:
        OmegaConf.update(composed, fault.path, None)
    return found


def _missing(composed: DictConfig) -> Iterator[Fault]:
    for path in sorted(OmegaConf.missing_keys(composed)):
        yield Fault(path, f"must be given: {path}=VALUE", "???")


def _unresolvable(composed: DictConfig) -> Iterator[Fault]:
    """Yield a fault for each interpolation that does not resolve."""
    for path, text in leaves(OmegaConf.to_container(composed, resolve=False)):
        if not isinstance(text, str) or "${" not in text:
            continue
        try:
            OmegaConf.select(composed, path, throw_on_resolution_failure=True)
        except OmegaConfBaseException as error:
            yield Fault(path, f"cannot be resolved: {_first_line(error)}", text)


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value below `node`, which has the dotted `path`, that is neither mapping nor list, by its own path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{path}.{index}")
    else:
        yield path, node


def with_origins(faults: Sequence[Fault], checked: CheckedOverrides, loader: ConfigLoader) -> list[Fault]:
    """Return `faults`, each with where its value came from."""

    def origin(path: str) -> str | None:
        section, _, name = path.partition(".")
        return origin_of(path, checked, loader) or origin_of(f"{section}.extra_args.{name}", checked, loader)

    return [fault if fault.origin else replace(fault, origin=origin(fault.path)) for fault in faults]


def _composition_fault(error: Exception, checked: CheckedOverrides, loader: ConfigLoader) -> Fault:
    """Return what stopped the composition itself: a file that cannot be read, or one that names another wrongly."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return Fault("", f"not valid YAML: {error.problem}", origin=f"{shown(Path(mark.name))}:{mark.line + 1}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        near = keys.nearest(option, error.options or ())
        hint = f"; did you mean {near}?" if near else ""
        return Fault(group, f"no such option{hint}", option, origin_of_option(group, option, checked, loader))
    return Fault("", _first_line(error))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
