"""How far a server had come when it printed a line."""

from __future__ import annotations

from typing import Literal

from mixvllm.vllm.failures.log_lines import LogLine

Moment = Literal["start", "loading", "profiling", "capturing", "captured", "serving", "stopping"]

MARKERS: tuple[tuple[str, Moment], ...] = (
    ("Starting to load model", "loading"),
    ("Loading weights took", "profiling"),
    ("Capturing CUDA graphs", "capturing"),
    ("Graph capturing finished", "captured"),
    ("Application startup complete", "serving"),
    ("[shutdown] API server: shutdown triggered", "stopping"),
)
"""Texts that begin a moment, in order."""
_TOGETHER = ("capturing", "captured", "serving", "stopping")
"""Moments that all workers reach together; one of them says so for all."""


class Moments:
    """Follows a log line by line. Workers load at their own pace, so each has its own moment until it captures."""

    def __init__(self) -> None:
        self._latest: Moment = "start"
        self._of_process: dict[str, Moment] = {}

    def read(self, line: LogLine) -> Moment:
        """Take one line; return the moment it was printed at."""
        for marker, moment in MARKERS:
            if marker in line.text:
                self._latest = moment
                self._of_process[line.pid] = moment
        if self._latest in _TOGETHER or not line.pid:
            return self._latest
        return self._of_process.get(line.pid, self._latest)
