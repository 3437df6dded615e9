"""Takes secrets out of a log while another process writes it.

vLLM prints straight to its log, without a pipe that could block it or break. So secrets are overwritten in place, with
as many `*`: the file keeps its length, and a writer that appends is not disturbed. Between the writing and the next
call a secret stands in the file, which is for its owner alone; whoever shows or copies lines of it masks them as well.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mixvllm.runs.secrets import find_secrets, forms_of

CHUNK_BYTES = 1 << 20
MAX_BYTES = 8 << 20
"""What one call reads at the most: under a tenth of a second of work. More than that is left to later calls."""
OVERLAP_BYTES = 1 << 14
"""Read again before what is new: a secret may come in two writes. Longer ones are found where they come in one."""
_MAX_POSTPONED = 1000


class LogScrubber:
    """Overwrites secrets in one growing log.

    `scrub` is meant to be called ten times a second: where nothing was added it is one system call, where more was
    added than it can read it is behind, and catches up in later calls. What was added at the end is sure to be clean
    only after `scrub(until_end=True)`.

    Args:
        path: of the log; it may not be there yet.
        secrets: those that are known; what looks like one is overwritten too.
        start: the byte to begin at; what stands before it was looked at already.
    """

    def __init__(self, path: Path, secrets: Iterable[str], start: int = 0) -> None:
        self._path = path
        self._forms = forms_of(secrets)
        self._file: tuple[int, int] | None = None
        self._offset = start
        self._postponed: set[tuple[int, int]] = set()

    def scrub(self, *, until_end: bool = False) -> int:
        """Overwrite the secrets in what was added since the last call; return their number. Never raises `OSError`.

        A log that is missing, or is no plain file of its own, is passed over. What cannot be written, since the disk is
        full, is tried again with the next call.

        Args:
            until_end: read everything that is there now, however much it is.
        """
        num_found = 0
        with suppress(OSError):
            if not self._has_work(os.lstat(self._path)):
                return 0
            descriptor = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if self._has_work(status := os.fstat(descriptor)):
                    end = status.st_size if until_end else min(status.st_size, self._offset + MAX_BYTES)
                    for found in self._scrub(descriptor, end):
                        num_found += found
            finally:
                os.close(descriptor)
        return num_found

    def _has_work(self, status: os.stat_result) -> bool:
        """Whether something was added; a log that was replaced, or cut, is begun anew."""
        file = (status.st_dev, status.st_ino)
        if self._file not in (None, file) or status.st_size < self._offset:
            self._offset, self._postponed = 0, set()
        self._file = file
        return stat.S_ISREG(status.st_mode) and (status.st_size > self._offset or bool(self._postponed))

    def _scrub(self, descriptor: int, end: int) -> Iterator[int]:
        """Yield the number of secrets that were overwritten, for each part of the work."""
        again, self._postponed = self._postponed, set()
        yield sum(self._overwrite(descriptor, *span) for span in again)
        while self._offset < end:
            yield self._scrub_chunk(descriptor, min(end, self._offset + CHUNK_BYTES))

    def _scrub_chunk(self, descriptor: int, end: int) -> int:
        """Look at the log from the offset to `end`, and at what stands before it as far as that matters."""
        begin = max(0, self._offset - OVERLAP_BYTES)
        data = os.pread(descriptor, end - begin, begin)
        self._offset = end
        # A word that is cut by the beginning is not known for what it is; one that is cut by the end is seen again.
        spans = find_secrets(data, self._forms, start=1 if begin else 0)
        return sum(self._overwrite(descriptor, begin + first, begin + last) for first, last in spans)

    def _overwrite(self, descriptor: int, begin: int, end: int) -> bool:
        try:
            num_written = os.pwrite(descriptor, b"*" * (end - begin), begin)
        except OSError:
            num_written = 0
        if num_written < end - begin and len(self._postponed) < _MAX_POSTPONED:
            self._postponed.add((begin + num_written, end))
        return num_written > 0
