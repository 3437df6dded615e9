"""The records of repeats, of whatever workload, as what a study holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any

from mixvllm.report.fields import count_in, mapping_in, number_in, text_in, texts_in
from mixvllm.report.study import Repeat
from mixvllm.sweep.results import metrics_of, reason_of, verdict_of
from mixvllm.workload.measurement import VERDICTS


@dataclass(frozen=True)
class Judged:
    """What the repeats of a point say of it.

    Args:
        verdict: of the best one; `missing` where there is none.
        reason: what there is to know before its numbers are used.
    """

    verdict: str
    reason: str | None


def repeat_of(record: Mapping[str, Any], labels: Mapping[str, Any], number: int) -> Repeat:
    """Return the repeat that `record` tells of.

    Args:
        labels: swept keys of its point; a metric of the same name gets a prefix, as in `results.csv`.
        number: counted from 1.
    """
    verdict = text_in(record, "verdict")
    is_known = verdict in VERDICTS
    start = mapping_in(record, "start")
    return Repeat(
        number=number,
        verdict=str(verdict) if is_known else "failed",
        reason=text_in(record, "reason") if is_known else "its record is not whole",
        failure=mapping_in(record, "failure"),
        seed=count_in(record, "seed"),
        metrics=_metrics(record, labels) if verdict == "ok" else {},
        start_kind=text_in(start, "kind"),
        start_ready_s=number_in(start, "ready_s"),
        duration_s=number_in(record, "duration_s"),
        began_at=text_in(record, "began_at"),
        versions={intern(str(name)): str(text) for name, text in mapping_in(record, "versions").items()},
        server_run=text_in(record, "server_run"),
        remarks=texts_in(record, "remarks"),
    )


def judge(repeats: Sequence[Repeat]) -> Judged:
    """Return what `repeats` say of their point, in the words of `results.csv`."""
    rows = [_row(repeat) for repeat in repeats]
    return Judged(verdict_of(rows), reason_of(rows, [row for row in rows if row["verdict"] == "ok"]))


def _row(repeat: Repeat) -> dict[str, Any]:
    versions = {f"version.{name}": text for name, text in repeat.versions.items()}
    return {"verdict": repeat.verdict, "reason": repeat.reason, **versions}


def _metrics(record: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, float]:
    parts = {name: mapping_in(record, name) for name in ("metrics", "server_metrics")}
    return {intern(name): value for name, value in metrics_of(parts, labels).items()}
