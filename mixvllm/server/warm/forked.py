"""A guardian that a warm engine forked, as the launcher sees it: no child of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import IO

from mixvllm.server.processes import ProcessId, is_alive, send_signal

_POLL_S = 0.02


class ForkedGuardian:
    """What a `Popen` would be for a child.

    Args:
        process: the guardian.
        commands: descriptor to write its commands to; becomes this object's.
        reports: descriptor to read its reports from; becomes this object's.
    """

    def __init__(self, process: ProcessId, commands: int, reports: int) -> None:
        self._process = process
        self.pid = process.pid
        self.stdin: IO[bytes] | None = os.fdopen(commands, "wb", buffering=0)
        self.stdout: IO[bytes] | None = os.fdopen(reports, "rb", buffering=0)

    def poll(self) -> int | None:
        """Return None while it lives, then 0: its status is its parent's to know."""
        return None if is_alive(self._process) else 0

    def kill(self) -> None:
        """Kill it."""
        send_signal(self._process, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it is gone.

        Raises:
            TimeoutExpired: it is not, after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"guardian {self.pid}", timeout or 0)
            time.sleep(_POLL_S)
        return 0
