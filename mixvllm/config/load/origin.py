"""Where a value came from: the command line, or a line of a YAML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode

from mixvllm.config.load.overrides import COMMAND_LINE, CheckedOverrides
from mixvllm.config.load.session import CONFIG_NAME, source_folders


def origin_of(path: str, overrides: CheckedOverrides, loader: ConfigLoader) -> str | None:
    """Return where the value at the dotted `path` was set last, or None where nobody set it."""
    parts = path.split(".")
    if _is_overridden(path, overrides):
        return COMMAND_LINE
    for file, package in reversed(_files(overrides.accepted, loader)):
        line = _line_of(file, parts[len(package) :]) if parts[: len(package)] == package else None
        if line is not None:
            return f"{shown(file)}:{line}"
    return None


def origin_of_option(group: str, option: str, overrides: CheckedOverrides, loader: ConfigLoader) -> str | None:
    """Return the line of a chosen file whose defaults list names `option` of `group`; None where no chosen one does."""
    for text in overrides.accepted:
        chosen, _, name = text.partition("=")
        file = next(
            (path for folder in source_folders(loader) if (path := folder / chosen / f"{name}.yaml").is_file()), None
        )
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader) if file else None
        for entry in _defaults(node):
            key, value = entry.value[0] if isinstance(entry, yaml.MappingNode) else (entry, entry)
            if value.value == option and key.value.rpartition("/")[2] in (group, option):
                return f"{shown(file)}:{entry.start_mark.line + 1}" if file else None
    return None


def _defaults(node: yaml.Node | None) -> list[yaml.Node]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((list(value.value) for key, value in pairs if key.value == "defaults"), [])


def _is_overridden(path: str, overrides: CheckedOverrides) -> bool:
    """Whether the command line set `path` itself, not only chose the option (`model=demo`) that sets it."""
    return any(path == key or ("." in key and path.startswith(f"{key}.")) for key in overrides.keys)


def _files(overrides: Sequence[str], loader: ConfigLoader) -> list[tuple[Path, list[str]]]:
    """Return the YAML files in the order they were merged, each with the package its keys are placed under."""
    defaults = loader.compute_defaults_list(CONFIG_NAME, list(overrides), RunMode.RUN).defaults
    folders = source_folders(loader)
    files = []
    for entry in defaults:
        if entry.config_path is None:
            continue
        file = next((path for folder in folders if (path := folder / f"{entry.config_path}.yaml").is_file()), None)
        if file is not None:
            files.append((file, [part for part in (entry.package or "").split(".") if part and part != "_global_"]))
    return files


def _line_of(file: Path, parts: Sequence[str]) -> int | None:
    """Return the line (from 1) of the key `parts` in `file`; of the nearest mapping above it that holds it whole."""
    node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line = None
    for part in parts:
        if not isinstance(node, yaml.MappingNode):
            return None
        found = next(((key, value) for key, value in node.value if key.value == part), None)
        if found is None:
            return None
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def shown(file: Path) -> str:
    """Return `file` relative to the working directory where it lies below it."""
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
