"""Optuna's study of a search, in a file of the sweep's folder: which trials there are, and which one comes next.

The only module that knows Optuna, which is not installed by default.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mixvllm.errors import ConfigError, Fault
from mixvllm.sweep.search.space import Axis, Picks, Space, space_record

_NAME = "search"
_SEARCHED = "searched"
_MAX_REPEATED = 3  # of a combination that was tried already, before one is drawn that was not

State = Literal["open", "measured", "pruned"]


@dataclass(frozen=True)
class Trial:
    """One combination that was tried, or is.

    Args:
        number: counted from 0.
        picks: its values.
        id: what Optuna calls it: it also counts those that were asked for twice.
        state: open: not done; measured: it has values; pruned: it has none, see `reason`.
        values: one for each objective.
        reason: why it is pruned.
    """

    number: int
    picks: Picks
    id: int
    state: State = "open"
    values: tuple[float, ...] = ()
    reason: str | None = None


class Study:
    """The trials of one search; see `open_study`.

    Args:
        optuna: the module.
        study: of Optuna.
        space: what it chooses from.
        seed: of what is drawn here.
    """

    def __init__(self, optuna: Any, study: Any, space: Space, seed: int) -> None:
        self._optuna = optuna
        self._study = study
        self._space = space
        self._distributions = {axis.key: _distribution(optuna, axis) for axis in space.axes}
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def trials(self) -> list[Trial]:
        """Return all trials, in the order in which they were asked for."""
        states = self._optuna.trial.TrialState
        names: dict[Any, State] = {
            states.RUNNING: "open",
            states.COMPLETE: "measured",
            states.PRUNED: "pruned",
        }
        attributes = self._study.user_attrs
        whole = [one for one in self._study.get_trials(deepcopy=False) if len(one.params) == len(self._space.axes)]
        return [
            Trial(
                number,
                self._picks(one.params),
                one.number,
                names[one.state],
                tuple(one.values or ()) if one.state == states.COMPLETE else (),
                attributes.get(_reason_name(one.number)),
            )
            for number, one in enumerate(one for one in whole if one.state in names)
        ]

    def ask(self) -> Trial | None:
        """Return the next trial, of a combination that was not tried yet; None where all were."""
        before = self.trials()
        tried = {self._space.number(trial.picks) for trial in before}
        if len(tried) >= self._space.num_points:
            return None
        for _ in range(_MAX_REPEATED):
            asked = self._ask(len(before))
            if self._space.number(asked.picks) not in tried:
                return asked
            self._study.tell(asked.id, state=self._optuna.trial.TrialState.FAIL)  # which teaches it nothing
        return self._ask(len(before), self._untried(tried))

    def tell(self, trial: Trial, values: Sequence[float]) -> None:
        """Note what came of a trial."""
        self._study.tell(trial.id, list(values))

    def prune(self, trial: Trial, reason: str) -> None:
        """Note that a trial has no values, and why: the search turns away from such points."""
        self._study.set_user_attr(_reason_name(trial.id), reason)
        self._study.tell(trial.id, state=self._optuna.trial.TrialState.PRUNED)

    def _ask(self, number: int, picks: Picks | None = None) -> Trial:
        if picks is not None:
            named = zip(self._space.axes, picks, strict=True)
            self._study.enqueue_trial({axis.key: _value(axis, pick) for axis, pick in named})
        asked = self._study.ask(fixed_distributions=self._distributions)
        return Trial(number, self._picks(asked.params), asked.number)

    def _picks(self, params: Mapping[str, Any]) -> Picks:
        return tuple(_pick(axis, params[axis.key]) for axis in self._space.axes if axis.key in params)

    def _untried(self, tried: set[int]) -> Picks:
        number = self._random.randrange(self._space.num_points)
        while number in tried:
            number = (number + 1) % self._space.num_points
        return self._space.picks(number)


@contextmanager
def open_study(path: Path, space: Space, objective: Mapping[str, str], seed: int) -> Iterator[Study]:
    """Yield the study in the file at `path`, which is made where it is not there.

    Args:
        objective: metrics with `maximize` or `minimize`.
        seed: of what is drawn; one that goes on draws anew.

    Raises:
        ConfigError: Optuna is not installed; or the study is of another space, or for another objective.
    """
    optuna = load_optuna()
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        study = optuna.create_study(
            storage=storage, study_name=_NAME, directions=list(objective.values()), load_if_exists=True
        )
        _check_same(study, {"objective": dict(objective), **space_record(space)}, path)
        own_seed = seed + len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=own_seed)
        yield Study(optuna, study, space, own_seed)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def load_optuna() -> Any:
    """Return the module `optuna`, which tells nothing but warnings.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ModuleNotFoundError as error:
        words = f"{error.name} is not installed: pip install 'mixvllm[search]'"
        raise ConfigError([Fault("sweep.search", words, "optuna")]) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _check_same(study: Any, searched: Mapping[str, Any], path: Path) -> None:
    before = study.user_attrs.get(_SEARCHED)
    if before is None:
        study.set_user_attr(_SEARCHED, searched)
        return
    names = {"objective": "sweep.objective", "axes": "the swept keys", "fixed": "the other overrides"}
    # Pairs, since mappings that are ordered differently are equal.
    changed = [words for name, words in names.items() if _ordered(before.get(name)) != _ordered(searched[name])]
    if changed:
        words = f"{path} holds a search with other values of {', '.join(changed)}: give another sweep.name"
        raise ConfigError([Fault("sweep.name", words)])


def _reason_name(number: int) -> str:
    return f"why trial {number} is pruned"


def _ordered(value: Any) -> Any:
    return list(value.items()) if isinstance(value, dict) else value


def _distribution(optuna: Any, axis: Axis) -> Any:
    if axis.is_ordered:
        return optuna.distributions.IntDistribution(0, len(axis.choices) - 1)
    return optuna.distributions.CategoricalDistribution([choice.text for choice in axis.choices])


def _value(axis: Axis, pick: int) -> Any:
    return pick if axis.is_ordered else axis.choices[pick].text


def _pick(axis: Axis, value: Any) -> int:
    return int(value) if axis.is_ordered else [choice.text for choice in axis.choices].index(value)
