"""The points of a study for the page of a report: columns of numbers and texts, each text once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from mixvllm.report.fields import text_in
from mixvllm.report.study import Study, StudyPoint, varying_keys


def points_of(study: Study, servers: Mapping[Any, int]) -> dict[str, Any]:
    """Return what is known of the points, a column each.

    Args:
        servers: their positions, by their folders.
    """
    points = study.points
    sources = {source.path: number for number, source in enumerate(study.sources)}
    return {
        "num": len(points),
        "name": [point.name for point in points],
        "source": [sources[point.source.path] for point in points],
        "verdict": _coded(point.verdict for point in points),
        "reason": _coded(point.reason for point in points),
        "cause": _coded(_cause(point) for point in points),
        "num_ok": [point.num_ok for point in points],
        "num_repeats": [point.num_repeats for point in points],
        "num_gpus": [point.num_gpus for point in points],
        "ready_s": [_ready_s(point) for point in points],
        "start": _coded(", ".join(_unique(repeat.start_kind for repeat in point.repeats)) for point in points),
        "remarks": _coded(_remarks(point) for point in points),
        "versions": _coded(_versions(point) for point in points),
        "hash": [point.content_hash for point in points],
        "server_key": _coded(point.server_key for point in points),
        "argv": _coded(shlex.join(point.argv) for point in points),
        "servers": [[servers[server.path] for server in point.servers] for point in points],
        "command": _commands(points),
        "labels": {key: _coded(point.value(key) for point in points) for key in study.swept},
    }


def _cause(point: StudyPoint) -> str:
    """Return what its server failed of, and what would mend it."""
    failure = point.failure
    shown = [text_in(failure, name) for name in ("cause", "line")]
    override, fix = text_in(failure, "override"), text_in(failure, "fix")
    remedy = [f"try: {override}"] if override else [f"next: {fix}"] if fix else []
    return "\n".join(_unique([*shown, *remedy]))


def _remarks(point: StudyPoint) -> str:
    return "; ".join(_unique(remark for repeat in point.repeats for remark in repeat.remarks))


def _ready_s(point: StudyPoint) -> float | None:
    known = [repeat.start_ready_s for repeat in point.repeats if repeat.start_ready_s is not None]
    return round(sum(known) / len(known), 2) if known else None


def _versions(point: StudyPoint) -> str:
    found = dict(point.versions)
    for repeat in point.repeats:
        found |= repeat.versions
    return ", ".join(f"{name} {text}" for name, text in sorted(found.items()))


def _unique(values: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _commands(points: Sequence[StudyPoint]) -> dict[str, Any]:
    """Return the commands as numbers of their words, which are quoted for a shell."""
    words: dict[str, int] = {}

    def numbers(texts: Iterable[str]) -> list[int]:
        return [words.setdefault(shlex.quote(text), len(words)) for text in texts]

    return {"at": [numbers(point.command) for point in points], "words": list(words)}


def config_of(points: Sequence[StudyPoint]) -> dict[str, Any]:
    """Return what all points have in common by dotted key, and columns of what varies."""
    flat = _FlatConfigs()
    varying = varying_keys(points)
    first = next((point for point in points if point.config), None)
    common = flat(first) if first else {}
    return {
        "common": {key: value for key, value in common.items() if key not in set(varying)},
        "varying": {key: _coded(flat(point).get(key) for point in points) for key in varying},
    }


class _FlatConfigs:
    """The configurations of points by dotted key; points share sections, so that few are looked into."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], dict[str, Any]] = {}

    def __call__(self, point: StudyPoint) -> dict[str, Any]:
        """Return that of `point`."""
        identity = tuple(id(section) for section in point.config.values())
        if identity not in self._kept:
            self._kept[identity] = point.flat_config()
        return self._kept[identity]


def _coded(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Return the distinct ones of `values`, and at which of them each is."""
    distinct: dict[Hashable, int] = {}
    kept: list[Any] = []
    at = []
    for value in values:
        key = _key(value)
        if key not in distinct:
            distinct[key] = len(kept)
            kept.append(value)
        at.append(distinct[key])
    return {"values": kept, "at": at}


def _key(value: Any) -> Hashable:
    is_plain = value is None or isinstance(value, str | int | float)
    return (type(value), value) if is_plain else json.dumps(value, sort_keys=True, default=str)
