"""What the user asks for by signals. The handlers only record; loops look."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Records SIGINT, SIGTERM and SIGHUP while it is entered; main thread only.

    The first one asks for a stop, a second one for a stop at once.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._before: dict[int, Any] = {}

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

    def is_forced(self) -> bool:
        """Whether it was asked for again."""
        return len(self._received) > 1

    @property
    def exit_code(self) -> int | None:
        """128 + the first signal's number, as a shell has it; None where there was none."""
        return 128 + self._received[0] if self._received else None

    def _record(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
