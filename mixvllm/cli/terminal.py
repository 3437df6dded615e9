"""What the terminal behind a stream can show, and lines for it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

_MIN_WIDTH = 20


def is_live(stream: TextIO) -> bool:
    """Whether lines on `stream` can be drawn over: it is a terminal, and no dumb one."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def width_of(stream: TextIO) -> int:
    """Return the columns of the terminal behind `stream`, whatever the other streams are; 80 where there is none."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return max(_MIN_WIDTH, columns or shutil.get_terminal_size((80, 24)).columns)


def remark(text: str) -> None:
    """Print `text` on stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def close_stdout() -> None:
    """Print nothing any more: what is still buffered for a reader that is gone must not fail the exit."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends


def short(path: Path) -> str:
    """Return `path` as one types it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
