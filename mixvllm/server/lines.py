"""What one process tells another by a pipe, line by line. The guardian uses this module too."""

from __future__ import annotations

import os


class Lines:
    """Reads lines from a descriptor as they come."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._partial = b""

    def read(self) -> list[bytes] | None:
        """Return the lines that are whole after one read, which may wait; None at the end."""
        chunk = os.read(self.descriptor, 1 << 16)
        if not chunk:
            return None
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        return lines
