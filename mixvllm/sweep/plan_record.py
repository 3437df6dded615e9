"""`sweep.json`: what was planned, for whoever runs it, goes on with it, or reports on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.files import write_json
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.plan import Plan, PlannedPoint, Shape
from mixvllm.sweep.point import look_around
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.workload.measurement import VERDICTS

_RERUN: dict[str, Sequence[str]] = {"failed": ("failed",), "invalid": ("invalid",), "all": VERDICTS}


@dataclass(frozen=True)
class Repeat:
    """One measurement of a point that is to be done.

    Args:
        point: which.
        number: which of its repeats, from 1.
    """

    point: PlannedPoint
    number: int


def write_plan(plan: Plan, draft: Draft, folder: SweepFolder, argv: Sequence[str]) -> int:
    """Write the points of `plan` and `sweep.json`, and return how many points are new. The caller holds the lock.

    Args:
        draft: of this plan.
        argv: as typed.
    """
    num_new = draft.write(folder)
    around = look_around()
    record = {
        "schema": SCHEMA_VERSION,
        "name": folder.name,
        "planned_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "argv": list(argv),
        "swept": list(plan.swept),
        "settings": plan.settings.model_dump(mode="json"),
        "num_candidates": plan.num_candidates,
        "num_left_out": plan.num_left_out,
        "num_merged": plan.num_merged,
        "num_invalid": plan.num_invalid,
        "points": [asdict(point) for point in plan.points],
        "order": [group.server_key for group in plan.groups],
        "versions": around.versions,
        "launcher": around.launcher,
        "git": around.git,
    }
    write_json(folder.record, record)
    return num_new


def read_points(folder: SweepFolder) -> list[PlannedPoint]:
    """Return the points that were planned in `folder`.

    Raises:
        ConfigError: nothing was.
    """
    return [_point(point) for point in read_plan(folder)["points"]]


def read_plan(folder: SweepFolder) -> dict[str, Any]:
    """Return what `write_plan` wrote.

    Raises:
        ConfigError: there is none.
    """
    try:
        record: dict[str, Any] = json.loads(folder.record.read_text(encoding="utf-8"))  # written whole, by `write_plan`
    except FileNotFoundError:
        raise ConfigError([Fault("sweep.name", f"no sweep was planned in {folder.path}")]) from None
    if record["schema"] != SCHEMA_VERSION:
        raise ConfigError([Fault("sweep.name", f"{folder.record} was written by another release: give another name")])
    return record


def _point(record: dict[str, Any]) -> PlannedPoint:
    fixed = {"shape": Shape(**record["shape"]), "overrides": tuple(record["overrides"])}
    return PlannedPoint(**{**record, **fixed})


def missing(
    points: Sequence[PlannedPoint], folder: SweepFolder, rerun: Literal["failed", "invalid", "all"] | None = None
) -> Iterator[Repeat]:
    """Yield the repeats of `points` that have no result which is whole, and those that `rerun` names."""
    again = _RERUN.get(rerun or "", ())
    for point in points:
        for number in range(1, point.num_repeats + 1):
            found = folder.read_repeat(point.content_hash, number)
            if found is None or found["verdict"] in again:
                yield Repeat(point, number)
