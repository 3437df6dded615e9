"""A Hydra session over the shipped groups and the user's folders, and what it can tell about them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigSource

from mixvllm.config.load.resolvers import register_resolvers
from mixvllm.errors import ConfigError, Fault

CONFIG_NAME = "config"
USER_CONF = "MIXVLLM_CONF"
"""Folders of the user's own options, as in PATH; the search path plugin puts them before the shipped ones."""


def shipped_conf() -> Path:
    """Return the folder of the shipped groups: beside the modules in a wheel, beside the package in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


@contextmanager
def hydra_session(config_dirs: Sequence[str | Path] = ()) -> Iterator[ConfigLoader]:
    """Yield Hydra's loader over the shipped groups, with the options of `config_dirs` before them.

    Raises:
        ConfigError: one of those folders is not there.
    """
    missing = [str(folder) for folder in config_dirs if not Path(folder).is_dir()]
    if missing:
        raise ConfigError(Fault("--config-dir", "no such folder", folder) for folder in missing)
    register_resolvers()
    with _user_folders(config_dirs), initialize_config_dir(str(shipped_conf()), job_name="mixvllm", version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@contextmanager
def _user_folders(config_dirs: Sequence[str | Path]) -> Iterator[None]:
    """Name `config_dirs` to the search path plugin, which reads nothing else than the environment."""
    before = os.environ.get(USER_CONF)
    folders = [str(Path(folder).resolve()) for folder in config_dirs]
    os.environ[USER_CONF] = os.pathsep.join([*folders, *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ[USER_CONF]
        else:
            os.environ[USER_CONF] = before


def groups(loader: ConfigLoader) -> dict[str, list[str]]:
    """Return the options of each config group (`{"model": ["demo", …], "hydra/launcher": …}`)."""
    names = [name for name in loader.list_groups("") if name != "hydra"]
    names += [f"hydra/{name}" for name in loader.list_groups("hydra")]
    # Each source is asked by itself: the loader's own get_group_options builds a repository anew for every group.
    return {
        name: sorted({option for source in loader.get_sources() for option in _options(source, name)}) for name in names
    }


def _options(source: ConfigSource, group: str) -> list[str]:
    return source.list(group, results_filter=ObjectType.CONFIG) if source.is_group(group) else []


def source_folders(loader: ConfigLoader) -> list[Path]:
    """Return the folders that options are looked for in, the first one wins."""
    return [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
