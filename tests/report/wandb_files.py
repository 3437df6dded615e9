"""Reads what Weights & Biases wrote offline: records in a log of blocks, as LevelDB's, each a message of theirs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_FILE_HEADER = 7


@dataclass
class OfflineRun:
    """One run, as one file tells of it."""

    run_id: str = ""
    name: str = ""
    group: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[list[str]] = field(default_factory=list)


def read_runs(folder: Path) -> list[OfflineRun]:
    """Return the runs in `folder/wandb`, each file by itself, in the order of their names."""
    return [_read(file) for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]


def _read(file: Path) -> OfflineRun:
    from wandb.proto.wandb_internal_pb2 import Record

    found = OfflineRun()
    for data in _records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            found.run_id, found.name, found.group = run.run_id, run.display_name, run.run_group
            found.project = run.project
            _update(found.config, run.config.update)
        elif kind == "config":
            _update(found.config, record.config.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            found.history[record.history.step.num] = {key: value for key, value in row.items() if key[0] != "_"}
        elif kind == "summary":
            _update(found.summary, record.summary.update)
        elif kind == "artifact":
            found.artifacts.append([entry.path for entry in record.artifact.manifest.contents])
    return found


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        values[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)


def _records(data: bytes) -> Iterator[bytes]:
    at, parts = _FILE_HEADER, b""
    while at + 7 <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < 7:
            at += room
            continue
        _crc, size, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
