"""The workload `serve`: the server serves until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mixvllm.server.server import Server

_TICK_S = 0.1


def serve(server: Server, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Watch `server` until `should_stop` says so; return how long it served.

    Raises:
        ServerDied: it ended by itself.
    """
    began = time.monotonic()
    while not should_stop():
        server.check()
        time.sleep(_TICK_S)
    return {"served_s": round(time.monotonic() - began, 3)}
