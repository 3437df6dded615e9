"""A server's log as lines: numbered, cleaned, and told apart by who printed them and what they are.

However long the log is, its first and last 4 MiB are read: a start-up fails in the first, a server that served in the
last. The rest is only counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

PART_BYTES = 4 << 20
MAX_LINE_CHARS = 4096
_COUNT_BYTES = 1 << 20

Where = Literal["message", "source", "warning", "information"]
"""What a line is: an error or the end of a traceback, a line of code in a traceback, a warning, or daily business."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_PREFIX = re.compile(
    r"(?:\((?P<process>[A-Za-z]\w*) pid=(?P<pid>\d+)\) ?)?"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:.]+ \[[^\]]*\] ?)?"
)
_UVICORN = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL|TRACE): {2,}")
_SOURCE = re.compile(r" {4}|  File \"")
_ENGINE_PROCESSES = ("EngineCore", "Worker", "VllmWorker", "RayWorker")


class LogLine(NamedTuple):
    """One line, or a part of one that a progress bar wrote over.

    Args:
        number: in the file, from 1.
        shown: the line without colours and control characters.
        text: what follows the prefix of vLLM's log.
        where: what it is.
        process: name in its prefix, e.g. `EngineCore`, `Worker_TP0`, `APIServer`; empty without one.
        pid: number in its prefix; empty without one.
    """

    number: int
    shown: str
    text: str
    where: Where
    process: str
    pid: str

    @property
    def is_of_engine(self) -> bool:
        """Whether the engine printed it, or one of its workers, rather than the process that answers HTTP."""
        return self.process.startswith(_ENGINE_PROCESSES)


def read_lines(path: Path, start: int = 0) -> list[LogLine]:
    """Return the lines of the file at `path` from the byte offset `start` on, shape (n,); none where there is no file.

    Bytes that are no text, and lines without end, do no harm: a line is cut at 4096 characters.
    """
    try:
        with path.open("rb") as file:
            return [line for number, raw in _numbered(file, start) for line in _parts(number, raw)]
    except FileNotFoundError:
        return []


def _numbered(file: IO[bytes], start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the first and the last part of the file, line by line, with numbers that count from its beginning."""
    size = file.seek(0, 2)
    first = 1 + _count(file, 0, min(start, size))
    file.seek(min(start, size))
    head = file.read(PART_BYTES)
    yield from enumerate(_split(head), first)
    end = min(start, size) + len(head)
    tail = max(end, size - PART_BYTES)
    if tail < size:
        first += head.count(b"\n") + _count(file, end, tail)
        file.seek(tail)
        yield from enumerate(_split(file.read(PART_BYTES)), first)


def _split(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _count(file: IO[bytes], begin: int, end: int) -> int:
    """Return how many lines end between two offsets."""
    file.seek(begin)
    count, left = 0, end - begin
    while left > 0 and (chunk := file.read(min(left, _COUNT_BYTES))):
        count += chunk.count(b"\n")
        left -= len(chunk)
    return count


def _parts(number: int, raw: bytes) -> Iterator[LogLine]:
    parts = [part for part in raw.split(b"\r") if part.strip()] or [b""]
    for part in parts:
        text = part[: MAX_LINE_CHARS * 4].decode("utf-8", errors="replace")
        yield parse_line(number, text)


def parse_line(number: int, raw: str) -> LogLine:
    """Return one line, with what its prefix tells."""
    shown = _CONTROLS.sub("", _ESCAPES.sub("", raw)).rstrip()[:MAX_LINE_CHARS]
    prefix = _PREFIX.match(shown)
    text = shown[prefix.end() :] if prefix else shown
    level = prefix["level"] if prefix else None
    if level is None and (uvicorn := _UVICORN.match(text)):
        level, text = uvicorn["level"], text[uvicorn.end() :]
    process, pid = (prefix["process"] or "", prefix["pid"] or "") if prefix else ("", "")
    return LogLine(number, shown, text, _where(level, text), process, pid)


def _where(level: str | None, text: str) -> Where:
    if level in ("DEBUG", "INFO", "TRACE"):
        return "information"
    if level == "WARNING":
        return "warning"
    return "source" if _SOURCE.match(text) else "message"
