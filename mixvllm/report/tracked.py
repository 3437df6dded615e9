"""What a tracker is told of a study: a run for each source and for each point, all of it without secrets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixvllm.report.study import Repeat, Source, Study, StudyPoint
from mixvllm.runs.secrets import known_secrets, mask

_ARTIFACTS = ("results.csv", "results.parquet", "report.html", "report.md")
_NUM_MASKED_KEPT = 20_000


@dataclass(frozen=True)
class TrackedRepeat:
    """The numbers of one good repeat.

    Args:
        number: counted from 1; the step of its metrics.
        metrics: by name.
        began_at_ms: since 1970; 0 where it is not known.
        fingerprint: equal where it is the very same measurement.
    """

    number: int
    metrics: Mapping[str, float]
    began_at_ms: int
    fingerprint: str


@dataclass(frozen=True)
class TrackedPoint:
    """One point.

    Args:
        key: of the folder it is in, and what it asks for.
        name: for people.
        params: what it asks for, as text, by dotted key; what is not set is left out.
        tags: what is known of it beside, as text.
        repeats: those that are good.
        summary: mean and interval of each metric.
        is_good: whether there is a good repeat.
    """

    key: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    repeats: tuple[TrackedRepeat, ...]
    summary: Mapping[str, float]
    is_good: bool

    @property
    def state(self) -> dict[str, str]:
        """What tells whether a tracker has all of it: the fingerprint of each repeat, and of the tags."""
        tags = fingerprint_of(self.tags)
        return {"tags": tags, **{str(repeat.number): repeat.fingerprint for repeat in self.repeats}}


@dataclass(frozen=True)
class TrackedSource:
    """One sweep or run, and its points.

    Args:
        key: of the folder it is in.
        name: for people.
        folder: where it is.
        tags: what is known of it, as text.
        artifacts: files that belong to it.
        points: in order.
    """

    key: str
    name: str
    folder: Path
    tags: Mapping[str, str]
    artifacts: tuple[Path, ...]
    points: tuple[TrackedPoint, ...]


def tracked_sources(study: Study) -> list[TrackedSource]:
    """Return what there is to tell of `study`."""
    masked = _masking()
    points: dict[str, list[TrackedPoint]] = {source.name: [] for source in study.sources}
    for point in study.points:
        points[point.source.name].append(_point(point, masked))
    return [_source(source, tuple(points[source.name]), masked) for source in study.sources]


def fingerprint_of(value: Any) -> str:
    """Return 12 hexadecimal digits that are equal where `value` is."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def key_of(source: Source) -> str:
    """Return what a source is known by: its folder, since names occur twice."""
    return fingerprint_of(str(source.path))


def remaining(state: Mapping[str, str], known: Mapping[str, str] | None) -> str:
    """Return what is to be done with a point: `nothing`, `new`, `more` repeats, or `again` where one has changed."""
    if known is None:
        return "new"
    if known == state:
        return "nothing"
    changed = [name for name, found in known.items() if name != "tags" and state.get(name) != found]
    return "again" if changed else "more"


def _source(source: Source, points: tuple[TrackedPoint, ...], masked: Callable[[str], str]) -> TrackedSource:
    folder = source.path if source.path.is_dir() else source.path.parent
    files = [] if source.is_imported else [folder / name for name in _ARTIFACTS]
    tags = {"kind": source.kind, "planned_at": source.planned_at or "", **_of_code(source)}
    return TrackedSource(
        key_of(source),
        masked(source.name),
        folder,
        {name: masked(text) for name, text in tags.items() if text},
        tuple(file for file in files if file.is_file()),
        points,
    )


def _of_code(source: Source) -> dict[str, str]:
    versions = {f"version.{name}": text for name, text in source.versions.items()}
    return {**versions, "git.commit": str(source.git.get("commit") or "")}


def _point(point: StudyPoint, masked: Callable[[str], str]) -> TrackedPoint:
    asked = {**point.labels, **point.flat_config()}
    params = {key: masked(_text(value)) for key, value in asked.items() if value is not None and value != {}}
    return TrackedPoint(
        key=f"{key_of(point.source)}/{point.content_hash or point.index}",
        name=masked(point.name),
        params=params,
        tags=_tags(point, masked),
        repeats=tuple(map(_repeat, point.good)),
        summary=_summary(point),
        is_good=point.verdict == "ok",
    )


def _tags(point: StudyPoint, masked: Callable[[str], str]) -> dict[str, str]:
    served = {name: text for repeat in point.good[-1:] for name, text in repeat.versions.items()}
    found = {
        "verdict": point.verdict,
        "reason": point.reason or "",
        "model": point.model,
        "num_gpus": "" if point.num_gpus is None else str(point.num_gpus),
        "host": point.host or "",
        "content_hash": point.content_hash,
        "server_key": point.server_key,
        "num_ok": str(point.num_ok),
        "num_repeats": str(point.num_repeats),
        **{f"version.{name}": text for name, text in {**point.versions, **served}.items()},
        "git.commit": str(point.source.git.get("commit") or ""),
    }
    return {name: masked(text) for name, text in found.items() if text}


def _repeat(repeat: Repeat) -> TrackedRepeat:
    fingerprint = fingerprint_of([repeat.began_at, sorted(repeat.metrics.items())])
    return TrackedRepeat(repeat.number, repeat.metrics, _milliseconds(repeat.began_at), fingerprint)


def _summary(point: StudyPoint) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in dict.fromkeys(name for repeat in point.good for name in repeat.metrics):
        summary = point.summary(metric)
        if summary is None:
            continue
        found[f"{metric}/mean"] = summary.mean
        if summary.ci95_low is not None and summary.ci95_high is not None:
            found |= {f"{metric}/ci95_low": summary.ci95_low, f"{metric}/ci95_high": summary.ci95_high}
    return found


def _milliseconds(moment: str | None) -> int:
    try:
        return int(datetime.fromisoformat(moment or "").timestamp() * 1000)
    except ValueError:
        return 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _masking() -> Callable[[str], str]:
    """Return a function that masks secrets; points have most of their texts in common."""
    secrets = known_secrets(os.environ)
    return lru_cache(_NUM_MASKED_KEPT)(lambda text: mask(text, secrets))
