"""A study as the page of a report takes it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from mixvllm.report.choice import Axes, best_of, objectives_of
from mixvllm.report.metrics import key_label, metric_of
from mixvllm.report.page_points import config_of, points_of
from mixvllm.report.series import num_shown, series_of, spans_of
from mixvllm.report.servers import ServerRun
from mixvllm.report.study import Source, Study, StudyPoint, varying_keys
from mixvllm.vllm.phases import PHASES

_DIGITS = 5
_MAX_RIVALS = 20
_MAX_REMARKS = 20


def page_data(study: Study, axes: Axes, now: datetime | None = None) -> dict[str, Any]:
    """Return what a page shows of `study`, as JSON has it; its columns have an entry for each point.

    Args:
        axes: of the charts, until somebody chooses others.
        now: when the report is made.
    """
    servers = {server.path: number for number, server in enumerate(study.servers)}
    remarks = list(study.remarks[:_MAX_REMARKS])
    if len(study.remarks) > _MAX_REMARKS:
        remarks.append(f"and {len(study.remarks) - _MAX_REMARKS} more files that cannot be read")
    return {
        "made_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
        "version": version("mixvllm"),
        "axes": vars(axes),
        "remarks": remarks,
        "sources": [_source(source, study) for source in study.sources],
        "swept": list(study.swept),
        "key_labels": {key: key_label(key) for key in _keys(study, axes)},
        "phases": list(PHASES),
        "metrics": [_metric(name) for name in study.metrics],
        "values": {name: _values(study.points, name) for name in study.metrics},
        "objectives": _objectives(study),
        "config": config_of(study.points),
        "points": points_of(study, servers),
        "servers": _servers(study),
    }


def _keys(study: Study, axes: Axes) -> list[str]:
    """Return the keys that a chart may be drawn across, shape (n,)."""
    asked = [key for key in (axes.x, axes.by) if key]
    return list(dict.fromkeys([*study.swept, *varying_keys(study.points), *asked, "model.name"]))


def as_script(value: Any) -> str:
    """Return `value` as JSON that can stand in a `script` element, whatever texts are in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode()


def _source(source: Source, study: Study) -> dict[str, Any]:
    commit = source.git.get("commit")
    return {
        "name": source.name,
        "kind": source.kind,
        "path": str(source.path),
        "swept": list(source.swept),
        "zip": _zipped(source),
        "argv": shlex.join(source.argv),
        "planned_at": source.planned_at,
        "commit": commit if isinstance(commit, str) else None,
        "is_changed": bool(source.git.get("diff")),
        "num_points": sum(point.source is source for point in study.points),
    }


def _zipped(source: Source) -> list[list[str]]:
    """Return the groups of keys that vary together, shape (n,)."""
    zipped = source.settings.get("zip")
    groups = zipped if isinstance(zipped, list) else []
    if all(isinstance(key, str) for key in groups):
        groups = [groups]
    return [[key for key in group if isinstance(key, str)] for group in groups if isinstance(group, list)]


def _metric(name: str) -> dict[str, Any]:
    metric = metric_of(name)
    return {
        "name": name,
        "unit": metric.unit,
        "higher": metric.is_higher_better,
        "throughput": metric.is_throughput,
        "latency": metric.is_latency,
        "words": metric.words,
    }


def _values(points: Sequence[StudyPoint], metric: str) -> dict[str, list[Any]]:
    """Return mean, half of the 95 % interval and number of repeats of `metric` at each point; null where none is."""
    summaries = [point.summary(metric) for point in points]
    return {
        "mean": [None if one is None else _rounded(one.mean) for one in summaries],
        "half": [None if one is None or one.half_width is None else _rounded(one.half_width) for one in summaries],
        "num": [0 if one is None else one.num for one in summaries],
    }


def _rounded(value: float) -> float | int:
    found = float(f"{value:.{_DIGITS}g}")
    return int(found) if found.is_integer() and abs(found) < 1e15 else found


def _objectives(study: Study) -> list[dict[str, Any]]:
    found = []
    for objective in objectives_of(study):
        best = best_of(study.points, objective)
        if best is not None:
            rivals = [row["at"] for row in best.rivals]
            found.append(
                {
                    "metric": objective.metric,
                    "higher": objective.is_higher_better,
                    "best": best.row["at"],
                    "rivals": rivals[:_MAX_RIVALS],
                    "num_rivals": len(rivals),
                }
            )
    return found


def _servers(study: Study) -> list[dict[str, Any]]:
    measured: dict[Any, list[tuple[int, StudyPoint]]] = {}
    for at, point in enumerate(study.points):
        for server in point.servers:
            measured.setdefault(server.path, []).append((at, point))
    shown = num_shown(len(study.servers))
    records = [{**_server(server), "points": [at for at, _ in measured[server.path]]} for server in study.servers]
    for record, server in zip(records[:shown], study.servers, strict=False):
        record |= {"series": series_of(server, shown), "spans": spans_of(server, measured[server.path])}
    return records


def _server(server: ServerRun) -> dict[str, Any]:
    job = server.job.get("job_id")
    return {
        "name": server.name,
        "path": str(server.path),
        "state": server.state,
        "host": server.host,
        "job": job if isinstance(job, str | int) else None,
        "hardware": server.hardware,
        "num_starts": server.num_starts,
        "startup": [server.startup_s.get(phase) for phase in PHASES],
    }
