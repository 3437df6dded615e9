"""When a server that failed is started again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mixvllm.config.schema import ServerConfig

MAX_BACKOFF_S = 300.0


@dataclass(frozen=True)
class Failure:
    """What counts of a failure.

    Args:
        kind: see `ServerFailed`.
        was_ready: whether the server had served.
        served_s: seconds it had lived.
    """

    kind: str
    was_ready: bool
    served_s: float


class RestartPolicy:
    """Counts failures in a row, and says how long to wait before the next start, or that there is none.

    A fault of the configuration comes back with every start, and is final. One of the environment, or whose cause is
    not known, is final too, unless the server had served in that environment: then it is taken for transient.

    Args:
        server: its keys `restart…`.
        jitter: gives a factor, so that many servers that failed of one cause do not start at once.
    """

    def __init__(
        self,
        server: ServerConfig,
        jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2),  # noqa: S311
    ) -> None:
        self._server = server
        self._jitter = jitter
        self._num_failures = 0

    def delay_s(self, failure: Failure) -> float | None:
        """Return the seconds until the next start after `failure`; None where there is none."""
        if failure.was_ready and failure.served_s >= self._server.restart_reset_s:
            self._num_failures = 0
        self._num_failures += 1
        may_help = failure.kind == "transient" or (failure.was_ready and failure.kind != "config")
        if self._server.restart == "never" or not may_help or self._num_failures >= self._server.restart_max_attempts:
            return None
        doubled_s = self._server.restart_backoff_s * 2.0 ** (self._num_failures - 1)
        return min(MAX_BACKOFF_S, doubled_s * self._jitter())
