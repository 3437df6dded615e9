"""What the options of the groups set, read from their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mixvllm.config.load.session import groups, hydra_session, source_folders
from mixvllm.config.yaml_file import load_yaml


def option_values(group: str, config_dirs: Sequence[str | Path] = ()) -> dict[str, dict[str, Any]]:
    """Return what each option of `group` says over its `default`; interpolations stay as written."""
    with hydra_session(config_dirs) as loader:
        folders, options = source_folders(loader), groups(loader)[group]
    values = {option: load_yaml(_file(folders, group, option)) or {} for option in options}
    default = values.pop("default", {})
    return {option: {**default, **own} for option, own in values.items()}


def options_that_set(key: str) -> list[str]:
    """Return the options that set the dotted `key`, each with the value (`inference=cpu: float32`)."""
    with hydra_session() as loader:
        found = []
        for group, options in sorted(groups(loader).items(), key=lambda item: item[0] == "experiment"):
            if "/" in group:
                continue
            for option in options:
                file = _file(source_folders(loader), group, option)
                found += [f"{group}={option}: {value}" for value in _values(file, group, key) if option != "default"]
    return found


def _file(folders: Iterable[Path], group: str, option: str) -> Path:
    return next(file for folder in folders if (file := folder / group / f"{option}.yaml").is_file())


def _values(file: Path, group: str, key: str) -> Iterator[Any]:
    node = load_yaml(file)
    parts = key.split(".")
    if "@package _global_" not in file.read_text(encoding="utf-8"):
        if parts[0] != group:
            return
        parts = parts[1:]
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return
        node = node[part]
    yield node
