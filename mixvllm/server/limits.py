"""How long the stages of a stop may take, and until when a server can become ready."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mixvllm.errors import ServerNotReady


@dataclass(frozen=True)
class StopLimits:
    """Seconds that each stage of a stop gets before what is left is killed; the drain itself is `drain_timeout_s`.

    Args:
        start_up_s: for a server that is not ready yet; vLLM ends its engine within 5 s of a SIGINT.
        after_drain_s: from the end of the drain; vLLM gives workers 5 s, their death 4 s, HTTP 10 s.
        alone_s: of these, once its engine has ended: what it waits for then is clients that no answer reaches.
        leftovers_s: for helpers that end by themselves once the leader is gone.
        kill_s: for what was killed to go.
        port_s: for the port to close.
        gpu_s: for the driver to give back the memory of GPUs.
    """

    start_up_s: float = 15.0
    after_drain_s: float = 20.0
    alone_s: float = 3.0
    leftovers_s: float = 3.0
    kill_s: float = 5.0
    port_s: float = 5.0
    gpu_s: float = 30.0


STOP_LIMITS = StopLimits()
"""What vLLM 0.32 needs."""


@dataclass(frozen=True)
class StartLimit:
    """The moment at which what a server is started in will end, or begin to.

    Args:
        until: by `time.monotonic`.
        cause: why a server that is not ready by then never can be.
        fix: what to do.
        override: one that does it.
    """

    until: float
    cause: str
    fix: str
    override: str

    def raise_if_over(self, phase: str, log: Path) -> None:
        """Raise `ServerNotReady`, which no other start would mend, where the moment has come.

        Args:
            phase: of the start.
            log: of the server.
        """
        if time.monotonic() <= self.until:
            return
        cause = f"{self.cause}; it was in phase {phase}"
        failure = {"id": "job-too-short", "kind": "config", "cause": cause, "fix": self.fix, "override": self.override}
        message = f"not ready in time\n  cause: {cause}\n  log: {log}\n  try: {self.override}"
        raise ServerNotReady(message, kind="config", failure=failure)
