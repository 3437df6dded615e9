"""A program in the background that takes with it all that came of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_KEEPER = Path(__file__).with_name("keeper.py")


class Daemon:
    """A program and all that comes of it."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), *argv],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(environment),
                cwd=log.parent,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Return the program and all that came of it."""
        try:
            return psutil.Process(self._keeper.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def has_ended(self) -> bool:
        """Whether nothing of it is left."""
        return self._keeper.poll() is not None

    def kill(self) -> None:
        """Kill all of it, and return when it is gone."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
