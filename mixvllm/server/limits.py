"""How long the stages of a stop may take."""

from __future__ import annotations

from dataclasses import dataclass


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
