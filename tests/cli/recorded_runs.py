"""Run folders in every state, as a launcher would have left them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.samples import append_sample

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
SPEEDS = (0.0, 500.0, 1000.0, 2000.0, 4000.0, None, 3000.0, 4096.4)


def gpu(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "utilization_percent": 97,
        "memory_used_gib": 70.25,
        "memory_total_gib": 80.0,
        "power_w": 650.5,
        "temperature_c": 61,
    }


def sample(generation_tokens_per_s: float | None = 4096.4, num_gpus: int = 1, **more: Any) -> dict[str, Any]:
    """Return what a sampler writes of a busy server, less when."""
    return {
        "schema": 1,
        "period_s": 5.0,
        "answers": True,
        "interval_s": 5.0,
        "engine": {
            "num_requests_running": 256,
            "num_requests_waiting": 12,
            "kv_cache_usage_fraction": 0.973,
            "num_prompt_tokens_total": 1000,
            "num_generation_tokens_total": 2000,
            "num_preemptions_total": 17,
            "num_finished_total": {"stop": 90, "abort": 1},
            "num_http_requests_total": 100,
            "num_http_errors_total": 3,
        },
        "rates": {
            "prompt_tokens_per_s": 123_456.0,
            "generation_tokens_per_s": generation_tokens_per_s,
            "requests_per_s": 12.34,
            "ttft_p50_ms": 72.2,
            "ttft_p95_ms": 1980.4,
            "http_error_fraction": 0.25,
        },
        "processes": {"num_processes": 7, "cpu_percent": 181.3, "rss_gib": 12.34, "pss_gib": 9.0},
        "gpus": [gpu(number) for number in range(num_gpus)],
        **more,
    }


def make_run(
    parent: Path, name: str, state: str, samples: Sequence[dict[str, Any]] = (), *, now: datetime = NOW, **status: Any
) -> Path:
    """Make the folder of a run that was ready an hour, two minutes and three seconds ago; return its path.

    The last of `samples` is a second old, and five seconds lie between them, where they do not say when they are of.
    """

    def ago(seconds: float) -> str:
        return (now - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")

    run = RunFolder(parent / name)
    run.path.mkdir(parents=True)
    facts = {
        "schema": 1,
        "run": name,
        "state": state,
        "phase": None,
        "since": ago(3723),
        "attempt": 1,
        "attempt_began_at": ago(3800),
        "model": "llama3_8b",
        "url": "http://127.0.0.1:8000",
        "ready_at": None if state == "starting" else ago(3723),
        "cause": None,
    }
    run.status.write_text(json.dumps(facts | status), encoding="utf-8")
    for number, one in enumerate(reversed(samples)):
        one.setdefault("time", ago(1 + 5 * number))
    for one in samples:
        append_sample(run, one)
    return run.path


def make_all(parent: Path, now: datetime = NOW) -> list[Path]:
    """Make a run in every state, good and bad; return their paths."""
    old = (now - timedelta(seconds=120)).isoformat()
    cause = "the engine has made no progress for 130 s, and a request for one token failed: no answer in 30 s\n  more"
    busy = [sample(speed, num_gpus=8) for speed in SPEEDS]
    return [
        make_run(parent, "a-ready", "ready", busy, now=now),
        make_run(parent, "b-idle", "ready", [idle_sample()], now=now, model="meta-llama/Llama-3.1-405B-Instruct"),
        make_run(parent, "c-hung", "hung", [sample()], now=now, cause=cause),
        make_run(parent, "d-silent", "ready", [{"answers": False, "period_s": 5.0, "gpus": None}], now=now),
        make_run(parent, "e-stale", "ready", [sample(time=old)], now=now),
        make_run(parent, "f-starting", "starting", now=now, phase="weights", attempt=3, url=None),
        make_run(parent, "g-failed", "failed", [sample()], now=now, cause="out of memory", url=None),
        make_run(parent, "h-stopped", "stopped", [sample()], now=now, url=None),
    ]


def idle_sample() -> dict[str, Any]:
    """Return what a sampler writes of a server without requests, on a machine without GPUs."""
    idle = sample(0.0, num_gpus=0)
    idle["engine"] |= {"num_requests_running": 0, "num_requests_waiting": 0, "kv_cache_usage_fraction": 0.0}
    idle["rates"] = {**dict.fromkeys(idle["rates"]), "prompt_tokens_per_s": 0.0, "generation_tokens_per_s": 0.0}
    return idle
