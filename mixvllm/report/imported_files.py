"""The files that `vllm bench serve` and `vllm bench sweep serve` leave, and the results in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE_KIND = "vllm bench serve"
SWEEP_KIND = "vllm bench sweep"

_RUN = re.compile(r"run=(\d+)\.json")
_FAILURE = re.compile(r"run=(\d+)\.failure\.json")
_NOT_RESULTS = ("warmup.json", "summary.json")
_MARKS = ("completed", "duration", "model_id", "num_prompts")
"""Keys that every result has."""
_MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Record:
    """One measurement as it was written.

    Args:
        file: that it is in.
        result: what `vllm bench serve` wrote; empty where it failed, or where the file is not whole.
        overrides: what the sweep set, by vLLM's names, of the server and of the load.
        group: equal for repeats of one point; None where what was asked for decides.
        error: why there is no result, or none to be trusted; None where there is one.
    """

    file: Path
    result: Mapping[str, Any]
    overrides: tuple[Mapping[str, Any], Mapping[str, Any]] = field(default_factory=lambda: ({}, {}))
    group: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Records:
    """What is in a file or a folder.

    Args:
        kind: in words.
        records: in order.
    """

    kind: str
    records: tuple[Record, ...]


def holds_results(path: Path) -> bool:
    """Whether `path` is a file with results, the folder of an experiment, or a folder with files of results."""
    if path.is_dir() and (_is_combination(path) or _combinations(path) or _server_failures(path)):
        return True
    return any(True for file in _files(path) for _ in _of_file(file))


def records_of(path: Path) -> Records:
    """Return the results in `path`, for which `holds_results` is true."""
    if path.is_dir():
        combinations = [path] if _is_combination(path) else _combinations(path)
        runs = [record for folder in combinations for record in _of_combination(folder)]
        runs += [_of_server_failure(file) for file in _server_failures(path)]
        if runs:
            return Records(SWEEP_KIND, tuple(runs))
    return Records(FILE_KIND, tuple(record for file in _files(path) for record in _of_file(file)))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in sorted(path.glob("*.json*")) if file.is_file() and not file.name.endswith(".pytorch.json")]


def _combinations(path: Path) -> list[Path]:
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_combination(folder)]


def _server_failures(path: Path) -> list[Path]:
    return [file for file in sorted(path.glob("SERVE-*-failure.json")) if file.is_file()]


def _is_combination(folder: Path) -> bool:
    try:
        return any(_RUN.fullmatch(file.name) or _FAILURE.fullmatch(file.name) for file in folder.glob("run=*.json"))
    except OSError:
        return False


def _of_combination(folder: Path) -> Iterator[Record]:
    """Yield the runs of one combination. A run that failed leaves its result as if it had not: the failure counts."""
    results = {int(match[1]): file for file in folder.glob("run=*.json") if (match := _RUN.fullmatch(file.name))}
    failures = {int(match[1]): file for file in folder.glob("run=*.json") if (match := _FAILURE.fullmatch(file.name))}
    told = {number: _object(file) or {} for number, file in failures.items()}
    overrides = next((_overrides(failure) for failure in told.values() if failure), ({}, {}))
    for number in sorted({*results, *failures}):
        file = results.get(number) or failures[number]
        result = (_object(file) if number in results else {}) or {}
        error = None
        if number in failures:
            error = _error(told[number])
        elif not _is_result(result):
            error = f"{file.name} is not whole"
        yield Record(file, result if _is_result(result) else {}, overrides, folder.name, error)


def _of_server_failure(file: Path) -> Record:
    failure = _object(file) or {}
    return Record(file, {}, _overrides(failure), file.name, f"the server: {_error(failure)}")


def _error(failure: Mapping[str, Any]) -> str:
    return f"{failure.get('error_type') or 'failed'}: {failure.get('error') or 'no reason is given'}"


def _overrides(failure: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    found = [failure.get(name) for name in ("serve_overrides", "bench_overrides")]
    serve, bench = (one if isinstance(one, dict) else {} for one in found)
    return serve, bench


def _of_file(file: Path) -> Iterator[Record]:
    """Yield the results of one file: one object, one below the other (`--append-result`), or a list of them."""
    if file.name in _NOT_RESULTS:
        return
    values, rest = _values(file)
    results = [value for value in values if _is_result(value)]
    for value in results:
        yield Record(file, value)
    if rest and results:
        yield Record(file, {}, error=f"the end of {file.name} is not whole")


def _values(file: Path) -> tuple[list[Any], str]:
    """Return the JSON values that are in `file` one after the other, and what is no JSON at its end."""
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_MAX_BYTES)
    except OSError:
        return [], ""
    decoder, values, at = json.JSONDecoder(), list[Any](), 0
    while (at := _skipped(text, at)) < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return values, text[at:]
        values += value if isinstance(value, list) else [value]
    return values, ""


def _skipped(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _object(file: Path) -> dict[str, Any] | None:
    values, rest = _values(file)
    return values[0] if len(values) == 1 and not rest and isinstance(values[0], dict) else None


def _is_result(value: Any) -> bool:
    return isinstance(value, dict) and all(name in value for name in _MARKS)
