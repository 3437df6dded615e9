"""Reading a server's log while it grows, and its end when something went wrong."""

from __future__ import annotations

import re
from pathlib import Path

_MAX_CHUNK_BYTES = 1 << 20
_MAX_LINE_CHARS = 4096
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class LogReader:
    """Gives the lines that were added to a log since the last look. Memory stays bounded however much is added.

    Args:
        path: of the log.
        start: the byte to begin at.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._offset = start
        self._partial = ""

    def new_lines(self) -> list[str]:
        """Return the whole lines that are new, shape (n,); a line that a progress bar overwrites counts as one each."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(_MAX_CHUNK_BYTES)
        except FileNotFoundError:
            return []
        self._offset += len(chunk)
        text = self._partial + chunk.decode("utf-8", errors="replace")
        *lines, rest = re.split(r"[\r\n]+", text)
        self._partial = rest[-_MAX_LINE_CHARS:]
        return [_ANSI.sub("", line) for line in lines]


def tail(path: Path, num_lines: int = 20) -> list[str]:
    """Return the last lines of the file at `path` that hold any text, shape (n,), n <= num_lines."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 64 * 1024))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = [_ANSI.sub("", line).rstrip()[:_MAX_LINE_CHARS] for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line.strip()][-num_lines:]
