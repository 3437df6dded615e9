"""The warm engines of a launcher: started once for each environment, kept, and ended with it."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from mixvllm.machine.folders import private_tmp
from mixvllm.server.leftovers import remove_folder
from mixvllm.server.warm.interpreter import Refused, WarmEngine, start_engine
from mixvllm.server.warm.shared import preload_environment, warm_key
from mixvllm.vllm.installation import Installation

MAX_ENGINES = 4
"""How many warm engines are kept at once; each holds half a gigabyte and more."""


class WarmEngines:
    """The warm engines of a launcher. A context manager: leaving it ends them, and no server.

    Args:
        say: told, in a line, of work that takes long, and of what is not possible.
        should_stop: asked while waiting.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda _line: None, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._say = say
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._engines: dict[str, WarmEngine] = {}
        self._refusals: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def memory_bytes(self) -> int:
        """What they hold together."""
        return sum(engine.memory_bytes for engine in self._engines.values())

    def get(self, installation: Installation, environment: Mapping[str, str]) -> WarmEngine | None:
        """Return the warm engine for servers with `environment`, started where there is none yet.

        Args:
            installation: the vLLM that serves.
            environment: of the servers, whole.

        Returns:
            None where servers have to be started cold; `why_not` tells why.

        Raises:
            Interrupted: `should_stop` said so.
        """
        key = warm_key(installation, environment)
        with self._lock:
            if key in self._refusals:
                return None
            engine = self._engines.pop(key, None)
            if engine is not None and not engine.is_alive():
                engine.close()
                engine = None
            try:
                # The one that was asked for last is the last: the first is given up.
                self._engines[key] = engine or self._start(key, installation, environment)
            except Refused as refused:
                self._refusals[key] = str(refused)
                self._say(f"servers are started cold: {refused}")
                return None
            while len(self._engines) > MAX_ENGINES:
                self._engines.pop(next(iter(self._engines))).close()
            return self._engines[key]

    def why_not(self, installation: Installation, environment: Mapping[str, str]) -> str | None:
        """Return why `get` gave none, or None where it did, or was not asked."""
        return self._refusals.get(warm_key(installation, environment))

    def close(self) -> None:
        """End them all. May be called again."""
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].close()

    def _start(self, key: str, installation: Installation, environment: Mapping[str, str]) -> WarmEngine:
        self._say(f"preloading vLLM {installation.version} once for the servers to come")
        tmp_dir = private_tmp() / f"warm-{secrets.token_hex(4)}"
        tmp_dir.mkdir(mode=0o700)
        with tempfile.TemporaryFile(dir=tmp_dir) as log:
            try:
                engine = start_engine(
                    key, installation, preload_environment(environment, tmp_dir), log, self._should_stop
                )
            finally:
                remove_folder(str(tmp_dir))
        self._say(f"preloaded in {engine.preload_s:.0f} s, {engine.memory_bytes >> 20} MiB, which its servers share")
        return engine
