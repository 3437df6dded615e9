"""Asking a server whether it is ready: it answers, it is ours, and it produces a token."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, wait
from pathlib import Path

from mixvllm.runs.records import read_json
from mixvllm.server.client import ServerClient

_TICK_S = 0.1
_NUM_CONNECTIONS = 8  # of two listeners on one port, one that is not ours gets none of them once in 256 times


class Readiness:
    """Asks the three questions in the background, so that an answer that hangs holds up nothing.

    Args:
        client: of the server.
        identity: the served name that only this server has.
        model_name: the name that clients ask for.
        is_pooling: whether it embeds rather than generates.
        background: where it asks.
        replicas: the file that says where the servers behind a router answer, once that does; None = there is none.
    """

    def __init__(
        self,
        client: ServerClient,
        identity: str,
        model_name: str,
        *,
        is_pooling: bool,
        background: Executor,
        replicas: Path | None = None,
    ) -> None:
        self._client = client
        self._identity = identity
        self._model_name = model_name
        self._is_pooling = is_pooling
        self._background = background
        self._replicas = replicas
        self._attempt: Future[bool] | None = None

    def ask(self, remaining_s: float) -> bool:
        """Return whether the server is ready; waits a moment for the answer.

        Args:
            remaining_s: seconds that the first token may take.

        Raises:
            ServerForeign: something else answers.
            ServerNotReady: it answers, and the first request failed.
        """
        if self._attempt is None:
            self._attempt = self._background.submit(self._ask, remaining_s)
        wait([self._attempt], timeout=_TICK_S)
        if not self._attempt.done():
            return False
        attempt, self._attempt = self._attempt, None
        if not attempt.result():
            time.sleep(_TICK_S)
            return False
        return True

    def _ask(self, remaining_s: float) -> bool:
        if self._client.health() != 200:
            return False
        if self._replicas is not None:
            replicas = read_json(self._replicas)
            if replicas is None:
                return False
            self._client.know_replicas(replicas["urls"])
            if not self._client.engines_are_healthy():  # the router answers as soon as one of them does
                return False
        if not all(self._client.has_identity(self._identity) for _ in range(_NUM_CONNECTIONS)):
            return False
        self.ask_token(max(remaining_s, 1.0))
        return True

    def ask_token(self, timeout_s: float) -> None:
        """Raise `ServerNotReady` where the engine does not produce a token in `timeout_s`."""
        self._client.check_token(self._model_name, is_pooling=self._is_pooling, timeout_s=timeout_s)
