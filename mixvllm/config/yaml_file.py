"""Reading YAML that somebody else may have written: it runs no code, has no key twice, and stays small."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from mixvllm.errors import ConfigError, Fault

MAX_BYTES = 1 << 20
"""A larger file is no configuration; it is refused unread."""
_MAX_NODES = 100_000


def load_yaml(path: Path) -> Any:
    """Return what the file at `path` holds.

    Raises:
        ConfigError: it cannot be read, is too large or no YAML, has a tag of Python, a key twice, or grows by aliases.
    """
    return _read(path, _construct)


def check_yaml(path: Path) -> None:
    """Return where another reader, which has no limits of its own, may read the file at `path`. Quick.

    Raises:
        ConfigError: it cannot be read, is too large, or grows by aliases.
    """
    _read(path, lambda loader: loader.get_single_node() if "*" in loader.buffer else None)


def _read(path: Path, use: Any) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError([Fault(str(path), f"larger than {MAX_BYTES} bytes: not a configuration")])
        loader = _Loader(data.decode("utf-8"))
        try:
            return use(loader)
        finally:
            loader.dispose()
    except OSError as error:
        raise ConfigError([Fault(str(path), f"cannot be read: {error.strerror}")]) from error
    except RecursionError as error:
        raise ConfigError([Fault(str(path), "not valid YAML: nested too deeply")]) from error
    except (yaml.YAMLError, ValueError) as error:  # dates and numbers that there are not are a ValueError
        raise ConfigError([Fault(str(path), f"not valid YAML: {_words(error)}")]) from error


def _words(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        return error.problem + (f", line {error.problem_mark.line + 1}" if error.problem_mark else "")
    return " ".join(str(error).split())


def _construct(loader: _Loader) -> Any:
    node = loader.get_single_node()
    return None if node is None else loader.construct_document(node)


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, which YAML resolves in silence, and aliases that multiply."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _num_nodes(node, {}) > _MAX_NODES:
            raise yaml.composer.ComposerError(None, None, f"its aliases stand for more than {_MAX_NODES} values")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} is given twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _num_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of nodes in `node`, each alias counted as all that it stands for; infinite counts as many."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = _MAX_NODES + 1  # what an alias of a node that is still open, in itself, counts
        children = node.value if isinstance(node, yaml.SequenceNode) else [one for pair in node.value for one in pair]
        known[id(node)] = 1 + sum(_num_nodes(child, known) for child in children)
    return known[id(node)]
