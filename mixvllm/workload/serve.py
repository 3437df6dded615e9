"""The workload `serve`: the server serves until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mixvllm.server.service import Service

_TICK_S = 0.1


def serve(service: Service, should_stop: Callable[[], bool], tick: Callable[[], None]) -> dict[str, Any]:
    """Look after `service` until `should_stop` says so; return how long it served.

    Args:
        tick: called again and again, between two looks.

    Raises:
        ServerFailed: its server failed, and another start does not help.
    """
    began = time.monotonic()
    while not should_stop():
        service.check()
        tick()
        time.sleep(_TICK_S)
    return {"served_s": round(time.monotonic() - began, 3)}
