"""What launchers of one user keep from each other on a machine: GPUs, ranges of ports, and starts on one GPU."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

from mixvllm.errors import Interrupted
from mixvllm.machine.folders import private_tmp

_TICK_S = 0.2


class Claims:
    """Things that this process has for itself, by name, until it gives them back or ends, however that happens."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Return whether this process has `name` now; it has not where another one does, or this one already did."""
        if name in self._held:
            return False
        descriptor = os.open(_lock_file(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[name] = descriptor
        return True

    def give_back(self, name: str) -> None:
        """Let others have `name`."""
        os.close(self._held.pop(name))


@contextmanager
def starting_on(gpus: Sequence[str], should_stop: Callable[[], bool]) -> Iterator[None]:
    """Hold every one of `gpus` for a start; other starts of this user wait meanwhile.

    vLLM measures the free memory of a GPU before and after it loads, which another start would change.

    Raises:
        Interrupted: `should_stop` said so while waiting.
    """
    with ExitStack() as held:
        for gpu in sorted(gpus):  # in one order, so that no two wait for each other
            file = held.enter_context(_lock_file(f"start-{gpu}").open("w", encoding="ascii"))
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if should_stop():
                        raise Interrupted("stopped while waiting for another start on the GPU") from None
                    time.sleep(_TICK_S)
        yield


def _lock_file(name: str) -> Path:
    return private_tmp() / f"{quote(name, safe='')}.lock"
