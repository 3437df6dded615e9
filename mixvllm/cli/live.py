"""What is drawn over again and again on a terminal: the line of a start-up, the lines of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text


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


class LiveLines:
    """Lines that are asked for anew several times a second; they go away with `close`.

    Args:
        lines: returns them for a width in characters.
        width: returns that of the terminal.
        stream: the terminal.
    """

    def __init__(self, lines: Callable[[int], Sequence[str]], width: Callable[[], int], stream: TextIO) -> None:
        self._lines = lines
        self._width = width
        console = _Console(file=stream, force_terminal=True, highlight=False)
        self._live = Live(
            console=console, transient=True, refresh_per_second=2, get_renderable=self._text, redirect_stdout=False
        )
        with suppress(OSError):
            self._live.start(refresh=True)

    def refresh(self) -> None:
        """Draw them now."""
        with suppress(OSError):
            self._live.refresh()

    def close(self) -> None:
        """Take the lines away."""
        with suppress(OSError):
            self._live.stop()

    def _text(self) -> Text:
        # The last column stays free: a terminal that wraps there would leave lines behind.
        return Text("\n".join(self._lines(self._width() - 1)), no_wrap=True, overflow="crop")
