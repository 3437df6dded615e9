"""The live line of a start-up on a terminal."""

from __future__ import annotations

from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class _Console(Console):
    """Goes on where nobody reads any more; rich itself would end the process, and leave the server to its fate."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class LiveLine:
    """One line with what happens now and the time since it was made; it goes away with `close`."""

    def __init__(self, words: str, stream: TextIO) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        console = _Console(file=stream, force_terminal=True, highlight=False)
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task(words, total=None)
        self._progress.start()

    def show(self, words: str) -> None:
        """Say what happens now."""
        self._progress.update(self._task, description=words)

    def close(self) -> None:
        """Take the line away."""
        with suppress(OSError):
            self._progress.stop()
