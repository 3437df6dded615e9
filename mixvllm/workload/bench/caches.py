"""Emptying a server's caches between two repeats, so that no repeat lives on what another one left."""

from __future__ import annotations

import time
from enum import Enum

import httpx

from mixvllm.server.client import ServerClient

_ROUTES = ("/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache")
_TIMEOUT_S = 30.0
_RETRY_LIMIT_S = 10.0  # vLLM refuses while the blocks of requests that have just ended are still held
_TICK_S = 0.1


class Reset(Enum):
    """What came of it: done and confirmed; the server has no such routes; it has them, and did not do it."""

    CONFIRMED = "confirmed"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"


def reset_caches(client: ServerClient, *, limit_s: float = _RETRY_LIMIT_S) -> Reset:
    """Empty the prefix cache and those of other inputs than text; `limit_s` is how long a refusal is asked again."""
    outcomes = [_reset(client, route, time.monotonic() + limit_s) for route in _ROUTES]
    if Reset.REFUSED in outcomes:
        return Reset.REFUSED
    return outcomes[0]  # the others may be missing from a release; that of the prompts may not


def _reset(client: ServerClient, route: str, deadline: float) -> Reset:
    while True:
        outcome = _ask(client, route)
        if outcome is not Reset.REFUSED or time.monotonic() >= deadline:
            return outcome
        time.sleep(_TICK_S)


def _ask(client: ServerClient, route: str) -> Reset:
    try:
        outcomes = [_judge(answer) for answer in client.post_to_each(route, _TIMEOUT_S)]
    except httpx.HTTPError:
        return Reset.REFUSED
    return next((outcome for outcome in outcomes if outcome is not Reset.CONFIRMED), Reset.CONFIRMED)


def _judge(answer: httpx.Response) -> Reset:
    if answer.status_code == 404:
        return Reset.UNAVAILABLE
    if answer.status_code != 200:
        return Reset.REFUSED
    return Reset.CONFIRMED if _says_success(answer) else Reset.REFUSED


def _says_success(answer: httpx.Response) -> bool:
    """Whether it was done: vLLM answers 200 as well where it was not; two of the routes answer without a body."""
    if not answer.content.strip():
        return True
    try:
        return answer.json().get("success") is True
    except (ValueError, AttributeError):
        return False
