"""Composition without Hydra's own node, which takes three quarters of the time and which no launch reads.

The only private calls to Hydra: those that its public `compose` makes, less the parts for its own node. A test holds
the result equal to `compose`'s for every option; where the private calls are not there, or an override is for Hydra
itself, `compose` is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf, open_dict

from mixvllm.config.load.session import CONFIG_NAME
from mixvllm.config.yaml_file import check_yaml

_PRIVATE = (
    "_parse_overrides_and_create_caching_repo",
    "_compose_config_from_defaults_list",
    "_apply_overrides_to_config",
)


def compose_tree(overrides: Sequence[str], loader: ConfigLoader) -> DictConfig:
    """Return what `overrides` compose to in the session of `loader`; raises what `hydra.compose` does."""
    is_for_hydra = any(override.lstrip("+~").startswith("hydra") for override in overrides)
    if isinstance(loader, ConfigLoaderImpl) and all(hasattr(loader, name) for name in _PRIVATE) and not is_for_hydra:
        return _compose_own_groups(overrides, loader)
    return hydra.compose(CONFIG_NAME, list(overrides))


def _compose_own_groups(overrides: Sequence[str], loader: ConfigLoaderImpl) -> DictConfig:
    loader.ensure_main_config_source_available()
    parsed, repository = loader._parse_overrides_and_create_caching_repo(CONFIG_NAME, list(overrides))
    repository = _CheckedRepository(repository)
    defaults = create_defaults_list(
        repo=repository, config_name=CONFIG_NAME, overrides_list=parsed, prepend_hydra=False, skip_missing=False
    )
    composed = loader._compose_config_from_defaults_list(defaults=defaults.defaults, repo=repository)
    with open_dict(composed):
        composed.pop("hydra", None)
    OmegaConf.set_struct(composed, True)
    loader._apply_overrides_to_config(defaults.config_overrides, composed)
    return composed


class _CheckedRepository(CachingConfigRepository):
    """Reads each file for Hydra after a look at it: Hydra reads, and copies, whatever it is given, for hours."""

    def __init__(self, delegate: CachingConfigRepository) -> None:
        self.delegate, self.cache = delegate, {}  # which is ours alone: no need to copy it, as Hydra's own does

    def load_config(self, config_path: str) -> ConfigResult | None:
        if f"config_path={config_path}" not in self.cache:
            files = (Path(source.path, f"{config_path}.yaml") for source in self.get_sources() if _is_of_files(source))
            file = next((file for file in files if file.is_file()), None)
            if file is not None:
                check_yaml(file)
        return super().load_config(config_path)


def _is_of_files(source: ConfigSource) -> bool:
    return source.scheme() == "file"
