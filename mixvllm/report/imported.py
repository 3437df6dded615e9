"""Results of vLLM's own benchmarks as points: `vllm bench serve --save-result` and `vllm bench sweep serve`.

What those files do not tell stays unknown: the vLLM that served, its GPUs, the machine, the seed. They are read as
0.32 writes them; further numbers that a later release adds become metrics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixvllm.report.fields import Shared
from mixvllm.report.imported_files import SWEEP_KIND, Record, holds_results, records_of
from mixvllm.report.imported_result import Asked, asked_of, repeat_of_result
from mixvllm.report.repeats import judge
from mixvllm.report.study import Repeat, Source, Study, StudyPoint

_MAX_LENGTH_RATIO = 1.05


@dataclass
class _Group:
    """Results that were asked for the same."""

    asked: Asked
    records: list[Record] = field(default_factory=list)
    input_tokens: float | None = None

    def takes(self, tokens: float | None) -> bool:
        """Whether requests of `tokens` are those of the others: files do not tell how long they were to be."""
        if tokens is None or self.input_tokens is None:
            return True
        return max(tokens, self.input_tokens) <= _MAX_LENGTH_RATIO * min(tokens, self.input_tokens)


def read_imported(path: Path, shared: Shared) -> Study:
    """Return the points of the results in `path`, a file or the folder of an experiment."""
    found = records_of(path)
    groups: dict[str, list[_Group]] = {}
    for record in found.records:
        _add(groups, record, is_sweep=found.kind == SWEEP_KIND)
    ordered = [group for same in groups.values() for group in same]
    swept = _varying([group.asked.flat for group in ordered])
    source = Source(path, path.stem if path.is_file() else path.name, True, found.kind, swept=swept, is_imported=True)
    points = [_point(source, index, group, swept, shared) for index, group in enumerate(ordered)]
    return Study(tuple(points), (source,))


def _add(groups: dict[str, list[_Group]], record: Record, *, is_sweep: bool) -> None:
    asked = asked_of(record.result, record.overrides, is_sweep=is_sweep)
    key = record.group if record.group is not None else json.dumps(asked.flat, sort_keys=True, default=str)
    same = groups.setdefault(key, [])
    tokens = _tokens(record.result)
    group = next((one for one in same if is_sweep or one.takes(tokens)), None)
    if group is None:
        group = _Group(asked)
        same.append(group)
    # A result that was not finished lacks what the others have.
    if len(asked.flat) > len(group.asked.flat):
        group.asked = asked
    group.records.append(record)
    group.input_tokens = tokens if group.input_tokens is None else group.input_tokens


def _tokens(result: Mapping[str, Any]) -> float | None:
    total, num = result.get("total_input_tokens"), result.get("completed")
    return total / num if isinstance(total, int | float) and isinstance(num, int) and num > 0 else None


def _point(source: Source, index: int, group: _Group, swept: Sequence[str], shared: Shared) -> StudyPoint:
    repeats = tuple(_repeats(group))
    judged = judge(repeats)
    asked = group.asked
    return StudyPoint(
        source=source,
        index=index,
        labels={key: asked.flat[key] for key in swept if key in asked.flat},
        config=shared.sections(asked.config),
        verdict=judged.verdict,
        reason=judged.reason,
        repeats=repeats,
        num_repeats=len(repeats),
        num_gpus=asked.num_gpus,
        content_hash=_hash([asked.flat, round(group.input_tokens or 0), group.records[0].group]),
    )


def _repeats(group: _Group) -> Iterator[Repeat]:
    for number, record in enumerate(group.records, 1):
        yield repeat_of_result(record, group.asked, number)


def _varying(flats: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    keys: Iterable[str] = dict.fromkeys(key for flat in flats for key in flat)
    texts = {key: {json.dumps(flat.get(key), default=str) for flat in flats} for key in keys}
    return tuple(key for key, found in texts.items() if len(found) > 1)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def find_imported(path: Path) -> Iterator[Path]:
    """Yield what is to be read one by one: `path` itself, or the experiments in it."""
    if holds_results(path):
        yield path
    elif path.is_dir():
        yield from (one for one in sorted(path.iterdir()) if one.is_dir() and holds_results(one))
