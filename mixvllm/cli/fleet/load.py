"""What a server was doing when it was last sampled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mixvllm.runs.samples import last_sample
from mixvllm.server.fleet import RunState

_MIN_AGE_S = 30.0
"""Of a sample that tells nothing of now, unless samples are taken more seldom still."""


@dataclass(frozen=True)
class Load:
    """What a server was doing; None where it is not known, or not any more.

    Args:
        gpus: indices of the GPUs that it uses.
        generation_tokens_per_s: over the last period.
        num_errors: since the server began: requests that the engine gave up, and answers with a status from 500 on.
    """

    gpus: tuple[int, ...] | None = None
    num_requests_running: int | None = None
    num_requests_waiting: int | None = None
    generation_tokens_per_s: float | None = None
    num_errors: int | None = None


def load_of(state: RunState) -> Load:
    """Return what the server of `state` was doing lately; nothing where it serves no more."""
    sample = None if state.has_ended else last_sample(state.folder)
    if sample is None or not _is_of_now(sample, state):
        return Load()
    engine, rates = _part(sample, "engine"), _part(sample, "rates")
    return Load(
        gpus=_gpus(sample.get("gpus")),
        num_requests_running=_whole(engine.get("num_requests_running")),
        num_requests_waiting=_whole(engine.get("num_requests_waiting")),
        generation_tokens_per_s=_number(rates.get("generation_tokens_per_s")),
        num_errors=_num_errors(engine),
    )


def _is_of_now(sample: Mapping[str, Any], state: RunState) -> bool:
    """Whether the sample is of the server that runs now, and not long ago."""
    with suppress(ValueError, TypeError):
        taken = datetime.fromisoformat(sample["time"])
        began = state.moment("attempt_began_at")
        oldest_s = max(_MIN_AGE_S, 3 * (_number(sample.get("period_s")) or 0.0))
        return time.time() - taken.timestamp() < oldest_s and (began is None or taken >= began)
    return False


def _num_errors(engine: Mapping[str, Any]) -> int | None:
    finished = _part(engine, "num_finished_total")
    counts = [finished.get("abort"), finished.get("error"), engine.get("num_http_errors_total")]
    known = [count for count in map(_whole, counts) if count is not None]
    return sum(known) if known else None


def _gpus(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    indices = (gpu.get("id") for gpu in value if isinstance(gpu, dict))
    return tuple(index for index in indices if isinstance(index, int))


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
