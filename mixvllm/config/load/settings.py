"""What the options of the groups set, read from their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mixvllm.config.load.session import groups, hydra_session, source_folders


def options_that_set(key: str) -> list[str]:
    """Return the options that set the dotted `key`, each with the value (`inference=cpu: float32`)."""
    with hydra_session() as loader:
        found = []
        for group, options in sorted(groups(loader).items(), key=lambda item: item[0] == "experiment"):
            if "/" in group:
                continue
            for option in options:
                file = next(
                    f for folder in source_folders(loader) if (f := folder / group / f"{option}.yaml").is_file()
                )
                found += [f"{group}={option}: {value}" for value in _values(file, group, key) if option != "default"]
    return found


def _values(file: Path, group: str, key: str) -> Iterator[Any]:
    text = file.read_text(encoding="utf-8")
    node: Any = yaml.safe_load(text)
    parts = key.split(".")
    if "@package _global_" not in text:
        if parts[0] != group:
            return
        parts = parts[1:]
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return
        node = node[part]
    yield node
