"""What the user asks for by signals. The handlers only record; loops look."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from mixvllm.server.limits import StartLimit

_BESIDE_S = 0.5
"""A signal to a whole group reaches its processes one by one."""
_TICK_S = 0.02

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Records SIGINT, SIGTERM and SIGHUP while it is entered; main thread only.

    The first one asks for a stop, a second one for a stop at once.

    Args:
        hangup_reloads: whether SIGHUP asks for a reload instead, as daemons have it that no terminal belongs to.
    """

    def __init__(self, *, hangup_reloads: bool = False) -> None:
        self._received: list[int] = []
        self._before: dict[int, Any] = {}
        self._hangup_reloads = hangup_reloads
        self._is_reload_asked = False

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup, which asks to outlive the terminal
            self._before[number] = signal.signal(number, self._record)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_requested(self) -> bool:
        """Whether a stop was asked for."""
        return bool(self._received)

    def is_coming(self) -> bool:
        """Whether a stop was asked for, or is in a moment: the same signal may have ended a process beside us."""
        return comes_soon(self.is_requested)

    def is_forced(self) -> bool:
        """Whether it was asked for again."""
        return len(self._received) > 1

    def take_reload(self) -> bool:
        """Return whether a reload was asked for since the last call."""
        is_asked, self._is_reload_asked = self._is_reload_asked, False
        return is_asked

    def take_start_limit(self) -> StartLimit | None:
        """Return what limits the next start from outside; nothing does, but see `JobSignals`."""
        return None

    @property
    def exit_code(self) -> int | None:
        """128 + the first signal's number, as a shell has it; None where there was none."""
        return 128 + self._received[0] if self._received else None

    def _record(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self._hangup_reloads:
            self._is_reload_asked = True
        else:
            self._received.append(number)


def comes_soon(is_requested: Callable[[], bool]) -> bool:
    """Whether a stop was asked for, or is in a moment; see `StopSignals.is_coming`."""
    deadline = time.monotonic() + _BESIDE_S
    while not is_requested() and time.monotonic() < deadline:
        time.sleep(_TICK_S)
    return is_requested()
