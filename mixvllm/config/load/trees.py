"""Compositions by their group choices, each composed once and then filled with the values of many points.

A value that replaces a leaf is put into a copy of the resolved tree, and only leaves that refer to others are resolved
anew; anything else goes through OmegaConf as Hydra does it, which takes up to twenty times as long. A test holds both
equal to what Hydra composes.
"""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mixvllm.config.load.compose import compose_checked, leaves
from mixvllm.config.load.grid import Choice
from mixvllm.config.load.overrides import CheckedOverrides
from mixvllm.errors import ConfigError, Fault

_MAX_TREES = 64  # each takes about 300 KB
_MISSING = "???"
_OF_ENVIRONMENT = re.compile(r"\$\{oc\.env:[^${}]*\}")


class Tree:
    """What group choices compose to.

    Args:
        config: changed only for a moment.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        try:
            self._resolved: dict[str, Any] | None = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
        except OmegaConfBaseException:
            self._resolved = None
        self._written = dict(leaves(OmegaConf.to_container(config, resolve=False)))
        self._missing = {path for path, value in self._written.items() if value == _MISSING}
        self._referring = {path for path, value in self._written.items() if _refers(value)}

    def values(self, overrides: Sequence[Override]) -> dict[str, Any] | None:
        """Return the resolved values with `overrides`; None where it takes Hydra's own way to tell them."""
        given = {override.key_or_group: override.value() for override in overrides}
        if self._resolved is None or self._missing - given.keys() or not all(map(_is_simple, overrides)):
            return None
        values = _Values(self._resolved)
        if not all(values.put(one.key_or_group, given[one.key_or_group], one.is_force_add()) for one in overrides):
            return None
        referring = {*self._referring - given.keys(), *(key for key, value in given.items() if "${" in str(value))}
        is_told = not referring or self._resolve(referring, given, values)
        return values.root if is_told else None

    def _resolve(self, referring: set[str], given: Mapping[str, Any], values: _Values) -> bool:
        """Put what the paths in `referring` refer to into `values`; tell whether that was possible."""
        if not given.keys() <= self._written.keys():
            return False  # a new entry could not be taken back
        try:
            for key, value in given.items():
                OmegaConf.update(self.config, key, value)
            return all(self._put_resolved(path, values) for path in referring)
        except OmegaConfBaseException:
            return False
        finally:
            for key in given:
                OmegaConf.update(self.config, key, self._written[key])

    def _put_resolved(self, path: str, values: _Values) -> bool:
        found = OmegaConf.select(self.config, path, throw_on_resolution_failure=True, throw_on_missing=True)
        return not isinstance(found, Container) and values.put(path, found, False)


class _Values:
    """Nested mappings of which only those are copied that change."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        self.root = dict(shared)
        self._own = {""}

    def put(self, key: str, value: Any, is_new: bool) -> bool:
        """Put `value` in the place of a leaf, or beside it where `is_new`; tell whether that was possible."""
        *parents, leaf = key.split(".")
        node, path = self.root, ""
        for part in parents:
            path = f"{path}.{part}"
            if not isinstance(node.get(part), dict):
                return False
            if path not in self._own:
                node[part] = dict(node[part])
                self._own.add(path)
            node = node[part]
        if isinstance(node.get(leaf), dict | list) or not (leaf in node or is_new):
            return False
        node[leaf] = str(value) if isinstance(value, str) else value
        return True


def _is_simple(override: Override) -> bool:
    """Whether it puts a value into a place, no more."""
    value = override.value()
    is_leaf = not isinstance(value, dict | list) and not (isinstance(value, str) and _is_special(value))
    return is_leaf and not override.is_delete() and not override.is_add() and override.package is None


def _is_special(text: str) -> bool:
    return text == _MISSING or "\\" in text


def _refers(value: Any) -> bool:
    """Whether a value depends on others, or may; the environment is the same for all."""
    if not isinstance(value, str):
        return False
    while (shorter := _OF_ENVIRONMENT.sub("", value)) != value:
        value = shorter
    return "${" in value


class Trees:
    """The trees of a session, the most recent ones.

    Args:
        loader: of the session.
        groups: the config groups, which decide what is composed.
    """

    def __init__(self, loader: ConfigLoader, groups: Mapping[str, list[str]]) -> None:
        self._loader = loader
        self._groups = groups
        self._kept: OrderedDict[tuple[str, ...], Tree | tuple[Fault, ...]] = OrderedDict()

    def values(self, choices: Sequence[Choice]) -> dict[str, Any] | None:
        """Return the resolved values of a point; None where it takes `config` to tell them.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        structural, overrides = self._split(choices)
        return self._tree(structural).values(overrides)

    def config(self, choices: Sequence[Choice]) -> DictConfig:
        """Return what Hydra composes for a point, for the caller to change.

        Raises:
            ConfigError: Hydra cannot compose it.
        """
        structural, overrides = self._split(choices)
        tree = copy.deepcopy(self._tree(structural).config)
        try:
            self._loader._apply_overrides_to_config(overrides, tree)  # type: ignore[attr-defined]
        except (AttributeError, HydraException, OmegaConfBaseException, ValueError):
            return compose_checked(checked(choices), self._loader)
        return tree

    def _split(self, choices: Sequence[Choice]) -> tuple[list[Choice], list[Override]]:
        """Return the choices that decide what is composed, and the overrides that are put in afterwards."""
        accepted = [(choice, choice.accepted) for choice in choices if choice.accepted]
        structural = [choice for choice, override in accepted if override.key_or_group in self._groups]
        return structural, [override for _, override in accepted if override.key_or_group not in self._groups]

    def _tree(self, structural: Sequence[Choice]) -> Tree:
        key = tuple(choice.text for choice in structural)
        if key not in self._kept:
            self._kept[key] = self._compose(structural)
            if len(self._kept) > _MAX_TREES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        found = self._kept[key]
        if isinstance(found, Tree):
            return found
        raise ConfigError(found)

    def _compose(self, structural: Sequence[Choice]) -> Tree | tuple[Fault, ...]:
        try:
            return Tree(compose_checked(checked(structural), self._loader))
        except ConfigError as error:
            return error.faults


def checked(choices: Sequence[Choice]) -> CheckedOverrides:
    """Return `choices` as overrides that are checked."""
    accepted = [choice for choice in choices if choice.accepted]
    texts = tuple(choice.accepted.input_line or choice.text for choice in accepted if choice.accepted)
    return CheckedOverrides(texts, tuple(choice.sets for choice in accepted), ())
