"""Many configurations at once: each group choice composed once, each point's values applied to a copy and validated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from mixvllm.config.faults import faults_of
from mixvllm.config.load.compose import validate_tree, with_origins
from mixvllm.config.load.grid import Choice, Grid, read_grid
from mixvllm.config.load.session import groups, hydra_session
from mixvllm.config.load.trees import Trees, checked
from mixvllm.config.schema import ExperimentConfig
from mixvllm.config.schema.sweep import SweepConfig
from mixvllm.errors import ConfigError, Fault

_WORKLOAD = "bench"
"""What a sweep does with a server where nobody says so."""


@dataclass(frozen=True)
class Candidate:
    """One point of a grid, composed.

    Args:
        choices: of each override.
        labels: the swept keys with their values.
        config: None where it is not valid.
        faults: what is wrong with it, without origins.
        values: what was composed, resolved; None where that failed.
    """

    choices: tuple[Choice, ...]
    labels: dict[str, Any]
    config: ExperimentConfig | None
    faults: tuple[Fault, ...] = ()
    values: Mapping[str, Any] | None = None

    @property
    def overrides(self) -> tuple[str, ...]:
        """As Hydra's sweeper gives them to the point, shape (n,)."""
        return tuple(choice.text for choice in self.choices)


@contextmanager
def open_grid(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> Iterator[OpenGrid]:
    """Yield the grid of `overrides`, whose points can be composed while it is open.

    Raises:
        ConfigError: what all points have is wrong: a folder, overrides, or what `sweep` says of the grid.
    """
    with hydra_session(config_dirs) as loader:
        yield _open(overrides, loader)


def _open(overrides: Sequence[str], loader: ConfigLoader) -> OpenGrid:
    known = groups(loader)
    grid, faults = read_grid(overrides, loader, known)
    if faults:
        raise ConfigError(faults)
    composer = _Composer(loader, Trees(loader, known))
    first = composer.candidate(grid, next(grid.points()))
    if _serves_by_default(grid, first) and _WORKLOAD in known.get("workload", []):
        grid, _ = read_grid([f"workload={_WORKLOAD}", *overrides], loader, known)
        first = composer.candidate(grid, next(grid.points()))
    try:
        settings = _settings(first)
        return OpenGrid(grid.zipped(settings.zip), settings, composer)
    except ConfigError as error:
        raise ConfigError(composer.with_origins(error.faults, first.choices)) from error


def _serves_by_default(grid: Grid, first: Candidate) -> bool:
    """Whether nobody chose a workload: to serve until stopped, the default, is no point of a sweep."""
    is_chosen = any(choices[0].key in ("workload", "workload.kind") for choices in grid.choices)
    return not is_chosen and (first.values or {}).get("workload", {}).get("kind") == "serve"


def _settings(first: Candidate) -> SweepConfig:
    """Return the section `sweep`; raise its faults alone: those of other sections are the point's."""
    faults = [fault for fault in first.faults if fault.path.startswith("sweep.")]
    if faults:
        raise ConfigError(faults)
    return SweepConfig.model_validate((first.values or {}).get("sweep", {}))


@dataclass(frozen=True)
class OpenGrid:
    """A grid in a session that composes its points.

    Args:
        grid: with what `sweep.zip` says.
        settings: the section `sweep`, which is the same for all points.
    """

    grid: Grid
    settings: SweepConfig
    _composer: _Composer

    def candidates(self) -> Iterator[Candidate]:
        """Yield each point composed and validated, in the grid's order. Nothing of it is kept here."""
        for choices in self.grid.points():
            yield self._composer.candidate(self.grid, choices)

    def with_origin(self, fault: Fault, candidate: Candidate | None = None) -> Fault:
        """Return `fault` of a point, or of all, with where its value came from."""
        choices = candidate.choices if candidate else next(self.grid.points())
        return self._composer.with_origins([fault], choices)[0]


@dataclass(frozen=True)
class _Composer:
    loader: ConfigLoader
    trees: Trees

    def candidate(self, grid: Grid, choices: tuple[Choice, ...]) -> Candidate:
        labels = grid.labels(choices)
        refused = tuple(choice.fault for choice in choices if choice.fault)
        if refused:
            return Candidate(choices, labels, None, refused)
        try:
            values = self.trees.values(choices)
            if values is None:
                return self._by_hydra(choices, labels)
        except ConfigError as error:
            return Candidate(choices, labels, None, error.faults)
        try:
            return Candidate(choices, labels, ExperimentConfig.model_validate(values), (), values)
        except ValidationError as error:
            return Candidate(choices, labels, None, tuple(faults_of(error)), values)

    def _by_hydra(self, choices: tuple[Choice, ...], labels: dict[str, Any]) -> Candidate:
        tree = self.trees.config(choices)
        values: dict[str, Any] | None = None
        try:
            values = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
            return Candidate(choices, labels, ExperimentConfig.model_validate(values), (), values)
        except (OmegaConfBaseException, ValidationError):
            config, faults = validate_tree(tree)
            return Candidate(choices, labels, config, tuple(faults), values)

    def with_origins(self, faults: Sequence[Fault], choices: Sequence[Choice]) -> list[Fault]:
        return with_origins(faults, checked(choices), self.loader)
