"""The samples of a running server: `samples.jsonl` in the run folder, one JSON object a line.

The file stays below `MAX_BYTES`: where it would not, its older half loses every second line. So a run of months keeps
its whole history, finer the nearer it is. What a line says of an interval (`rates`) is of the time since the sample
that was taken before it, which may be one of the lost; totals are right whatever was lost.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mixvllm.runs.folder import RunFolder

MAX_BYTES = 32 << 20
"""What the file may grow to."""

_FIRST_BLOCK_BYTES = 16 << 10  # several samples: the end of the file is read in one go
_MAX_TAIL_BYTES = 4 << 20


def append_sample(folder: RunFolder, sample: Mapping[str, Any], *, max_bytes: int = MAX_BYTES) -> None:
    """Add `sample` as one whole line, for its owner alone.

    Raises:
        OSError: the disk is full, or the folder gone.
    """
    line = json.dumps(sample, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(folder.samples, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # the writer before broke off in the middle, e.g. since the disk was full
        os.write(descriptor, line)
    finally:
        os.close(descriptor)
    if size + len(line) > max_bytes:
        _thin(folder.samples)


def read_samples(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """Yield the samples of a run, oldest first; a line that is not whole is passed over."""
    try:
        with folder.samples.open("rb") as file:
            yield from _objects(file)
    except OSError:
        return


def last_samples(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    """Return the newest samples, oldest first, shape (n,), n <= count. Reads the end of the file alone."""
    block_bytes = _FIRST_BLOCK_BYTES
    try:
        with folder.samples.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            while True:
                file.seek(max(0, size - block_bytes))
                found = list(_objects(file.read().splitlines()))  # a line that is cut at its front is no object
                if len(found) >= count or block_bytes >= min(size, _MAX_TAIL_BYTES):
                    return found[-count:]
                block_bytes *= 4
    except OSError:
        return []


def last_sample(folder: RunFolder) -> dict[str, Any] | None:
    """Return the newest sample; None where there is none. Reads the end of the file alone."""
    return next(iter(last_samples(folder, 1)), None)


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _thin(path: Path) -> None:
    """Replace the file by one whose older half lacks every second line; who reads the old one may go on."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as thinned, path.open("rb") as file:
            half = os.fstat(file.fileno()).st_size // 2
            position = 0
            for number, line in enumerate(file):
                if position >= half or number % 2:
                    thinned.write(line)
                position += len(line)
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
