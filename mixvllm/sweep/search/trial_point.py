"""The point of a trial: planned like any other, and judged by what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixvllm.config.load.plan import open_grid
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.sweep import SweepConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.override import last_value
from mixvllm.sweep.plan import PlannedPoint
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.results import planned_records, rows_of
from mixvllm.sweep.search.space import Picks, Space
from mixvllm.sweep.search.study import Trial
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.vllm.installation import Installation, asked_once, installation_of


@dataclass(frozen=True)
class Asked:
    """What holds for all trials.

    Args:
        settings: the section `sweep`.
        output_dir: where results go.
        is_dry_run: nothing is to be started.
        hydra: overrides for Hydra itself, shape (n,).
    """

    settings: SweepConfig
    output_dir: str
    is_dry_run: bool
    hydra: tuple[str, ...]


class LabelledDraft(Draft):
    """A draft of one point, with the values that were chosen for it."""

    def __init__(self, labels: dict[str, Any]) -> None:
        super().__init__()
        self._labels = labels

    def add(self, record: dict[str, Any]) -> None:
        """Take the record of the point."""
        super().add({**record, "labels": self._labels})


class TrialPlanner:
    """Plans the points of trials.

    Args:
        space: that they are chosen from.
        config_dirs: the user's own folders.
        say: told what takes long.
        find: returns the vLLM that serves a configuration.
    """

    def __init__(
        self,
        space: Space,
        config_dirs: Sequence[str | Path],
        say: Callable[[str], None],
        find: Callable[[ServeConfig], Installation] = installation_of,
    ) -> None:
        self.space = space
        self._config_dirs = config_dirs
        self._say = say
        self._find = asked_once(find)

    def asked(self) -> Asked:
        """Return what holds for all trials.

        Raises:
            ConfigError: some of it is wrong.
        """
        first = self.space.texts(self.space.picks(0))
        _refuse_zip(first)
        with open_grid(first, self._config_dirs) as opened:
            candidate = next(opened.candidates())
            settings, hydra = opened.settings, opened.grid.hydra
        self._plan(self.space.picks(0), None)  # what is wrong with the condition is told at once
        if candidate.values is None:
            raise ConfigError(candidate.faults)
        values = candidate.values
        return Asked(settings, str(values["output_dir"]), bool(values["dry_run"]), hydra)

    def plan(self, trial: Trial, folder: SweepFolder) -> PlannedPoint | str:
        """Return the point of a trial, which is then frozen in `folder`; or why there is none."""
        labels = self.space.labels(trial.picks)
        with LabelledDraft(labels) as draft:
            try:
                found = self._plan(trial.picks, draft)
            except ConfigError as error:
                return str(error).replace("\n", "; ")
            if not isinstance(found, str):
                draft.write(folder)
                return replace(found, index=trial.number, labels=labels)
            return found

    def _plan(self, picks: Picks, draft: Draft | None) -> PlannedPoint | str:
        texts = self.space.texts(picks)
        plan = make_plan(texts, self._config_dirs, draft=draft, say=self._say, find=self._find)
        if plan.points:
            return plan.points[0]
        if plan.num_left_out:
            return f"sweep.where is not true: {plan.settings.where}"
        return "not valid: " + "; ".join(str(shared.fault) for shared in plan.faults)


def _refuse_zip(overrides: Sequence[str]) -> None:
    given = last_value(overrides, "sweep.zip")
    if given not in (None, "[]"):
        raise ConfigError([Fault("sweep.zip", "is for a grid: a search chooses each key by itself", given)])


def judge(point: PlannedPoint, folder: SweepFolder, metrics: Sequence[str]) -> list[float] | str | None:
    """Return the means of `metrics` over the good repeats of `point`; or why there are none.

    None: it is not wholly measured.

    Raises:
        ConfigError: it was measured, and has no such metric.
    """
    records = planned_records(folder, point)
    if len(records) < point.num_repeats:
        return None
    summary = rows_of(point, records)[-1]
    if summary["verdict"] != "ok":
        return str(summary["reason"])
    absent = [name for name in metrics if summary.get(name) is None]
    if absent:
        measured = sorted({name for record in records for name in record.get("metrics") or {}})
        words = f"no such metric was measured; there are {', '.join(measured)}"
        raise ConfigError([Fault("sweep.objective", words, ", ".join(absent))])
    return [float(summary[name]) for name in metrics]
