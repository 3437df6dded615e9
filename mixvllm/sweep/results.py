"""The results of a sweep as one tidy table: a row for each repeat, and a summary row for each point.

A metric is there only where the repeat was good: one that failed, or is not to be trusted, has its reason instead of
numbers, so that no mean over the table takes it for fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixvllm.sweep.plan import PlannedPoint
from mixvllm.sweep.plan_record import read_plan, read_points
from mixvllm.sweep.statistics import summarize
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.workload.measurement import VERDICTS, is_number

Row = dict[str, Any]
"""A row by its columns; one that is not there is empty."""

MISSING = "missing"
"""The verdict of a point without any repeat."""

_FIRST = ("row", "point")
_THEN = ("repeat", "verdict", "reason", "num_ok", "num_repeats")
_LAST = (
    "start_kind",
    "start_ready_s",
    "num_gpus",
    "seed",
    "began_at",
    "repeat_duration_s",
    "content_hash",
    "server_key",
    "server_run",
)
_FIXED = frozenset([*_FIRST, *_THEN, *_LAST])
_OF_MEAN = ("_std", "_ci95_low", "_ci95_high")


@dataclass(frozen=True)
class Results:
    """The table.

    Args:
        rows: the repeats of each point, then its summary; points in the order of the plan.
        swept: keys that vary.
        metrics: names of the metrics, sorted.
        versions: names of the distributions whose versions are known, sorted.
    """

    rows: tuple[Row, ...]
    swept: tuple[str, ...]
    metrics: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in an order that depends on nothing else than their names."""
        metrics = [f"{metric}{suffix}" for metric in self.metrics for suffix in ("", *_OF_MEAN)]
        return [*_FIRST, *self.swept, *_THEN, *metrics, *_LAST, *(f"version.{name}" for name in self.versions)]

    @property
    def summaries(self) -> list[Row]:
        """The summary rows, shape (num_points,)."""
        return [row for row in self.rows if row["row"] == "summary"]


def read_results(folder: SweepFolder) -> Results:
    """Return the table of what is recorded in `folder` by now."""
    swept = tuple(read_plan(folder)["swept"])
    rows = [row for point in read_points(folder) for row in rows_of(point, planned_records(folder, point))]
    names = {column for row in rows if row["row"] == "repeat" for column in row}
    versions = sorted(name.partition(".")[2] for name in names if name.startswith("version."))
    metrics = sorted(name for name in names - {*_FIXED, *swept} if not name.startswith("version."))
    return Results(tuple(rows), swept, tuple(metrics), tuple(versions))


def planned_records(folder: SweepFolder, point: PlannedPoint) -> list[dict[str, Any]]:
    """Return the repeats of `point` that are planned, and recorded; an earlier plan may have had more."""
    return [record for record in folder.read_repeats(point.content_hash) if record["repeat"] <= point.num_repeats]


def rows_of(point: PlannedPoint, records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of one point from the records of its repeats, by their number."""
    repeats = [_repeat_row(point, record) for record in records]
    return [*repeats, _summary_row(point, repeats)]


def _common(point: PlannedPoint) -> Row:
    return {
        "point": point.index,
        **point.labels,
        "num_repeats": point.num_repeats,
        "num_gpus": point.shape.num_gpus,
        "content_hash": point.content_hash,
        "server_key": point.server_key,
    }


def _repeat_row(point: PlannedPoint, record: Mapping[str, Any]) -> Row:
    start = record.get("start") or {}
    row = {
        **_common(point),
        "row": "repeat",
        "repeat": record["repeat"],
        "verdict": record["verdict"],
        "reason": record.get("reason"),
        "num_ok": int(record["verdict"] == "ok"),
        "seed": record.get("seed"),
        "began_at": record.get("began_at"),
        "repeat_duration_s": record.get("duration_s"),
        "start_kind": start.get("kind"),
        "start_ready_s": start.get("ready_s"),
        "server_run": record.get("server_run"),
        **{f"version.{name}": text for name, text in (record.get("versions") or {}).items()},
    }
    return {**row, **(metrics_of(record, point.labels) if record["verdict"] == "ok" else {})}


def metrics_of(record: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a record; those of the server, and those named like another column, with a prefix."""
    found = {name: value for name, value in (record.get("metrics") or {}).items() if is_number(value)}
    server = {f"server.{name}": value for name, value in (record.get("server_metrics") or {}).items()}
    found |= {name: value for name, value in server.items() if is_number(value)}
    taken = {*_FIXED, *labels}
    is_taken = {name: name in taken or name.endswith(_OF_MEAN) for name in found}
    return {f"metric.{name}" if is_taken[name] else name: float(value) for name, value in found.items()}


def _summary_row(point: PlannedPoint, repeats: Sequence[Row]) -> Row:
    good = [row for row in repeats if row["verdict"] == "ok"]
    ready = [row["start_ready_s"] for row in repeats if row["start_ready_s"] is not None]
    return {
        **_common(point),
        "row": "summary",
        "verdict": verdict_of(repeats),
        "reason": reason_of(repeats, good),
        "num_ok": len(good),
        "start_kind": _joined(row["start_kind"] for row in repeats),
        "start_ready_s": sum(ready) / len(ready) if ready else None,
        **{name: _joined(row.get(name) for row in repeats) for name in _version_columns(repeats)},
        **_means(good, point),
    }


def verdict_of(repeats: Sequence[Mapping[str, Any]]) -> str:
    """Return the best verdict that a repeat has; `missing` where there is none."""
    found = {row["verdict"] for row in repeats}
    return next((verdict for verdict in VERDICTS if verdict in found), MISSING)


def reason_of(repeats: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what there is to know of a point before its numbers are used."""
    if not repeats:
        return "not measured yet"
    bad = [row for row in repeats if row["verdict"] != "ok"]
    kinds = [verdict for verdict in ("invalid", "failed") if any(row["verdict"] == verdict for row in bad)]
    parts = [
        f"{sum(row['verdict'] == kind for row in bad)} of {len(repeats)} {kind}: "
        + next(str(row["reason"]) for row in bad if row["verdict"] == kind)
        for kind in kinds
    ]
    mixed = [name.partition(".")[2] for name in _version_columns(good) if len({row.get(name) for row in good}) > 1]
    parts += [f"repeats of different versions of {', '.join(mixed)}"] if mixed else []
    return "; ".join(parts) or None


def _version_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for row in rows for name in row if name.startswith("version.")})


def _joined(values: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(value for value in values if value)) or None


def _means(good: Sequence[Row], point: PlannedPoint) -> Row:
    row: Row = {}
    fixed = {*_FIXED, *point.labels, *_version_columns(good)}
    for name in sorted({name for one in good for name in one} - fixed):
        summary = summarize([one[name] for one in good if name in one])
        row[name] = summary.mean
        row |= {
            f"{name}_std": summary.std,
            f"{name}_ci95_low": summary.ci95_low,
            f"{name}_ci95_high": summary.ci95_high,
        }
    return row
