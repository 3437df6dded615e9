"""What a server did while it was measured: its metrics before and after, and the samples between."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from mixvllm.errors import MixvllmError
from mixvllm.runs.samples import read_samples
from mixvllm.server.server import Server
from mixvllm.vllm.metrics import EngineMetrics, read_metrics
from mixvllm.vllm.rates import Rates, rates
from mixvllm.workload.measurement import Measurement, Verdict

_RATES = {
    "queue_mean_ms": "queue_mean_ms",
    "num_preemptions": "num_preemptions",
    "prefix_cache_hit_fraction": "prefix_cache_hit_fraction",
    "num_failures": "num_failed_requests",
    "ttft_mean_ms": "server_ttft_mean_ms",
    "itl_mean_ms": "server_itl_mean_ms",
}
"""Names of `Rates`, and what they are called beside a client's numbers."""


@dataclass(frozen=True)
class Moment:
    """A look at the server.

    Args:
        monotonic_s: when, by `time.monotonic`.
        wall_s: when, by `time.time`.
        engine: its metrics; None where they did not come.
    """

    monotonic_s: float
    wall_s: float
    engine: EngineMetrics | None


class Span:
    """One repeat from its beginning on.

    Args:
        server: that is measured.
        repeat: counted from 0.
        seed: of its requests.
    """

    def __init__(self, server: Server, repeat: int, seed: int) -> None:
        self._server = server
        self._repeat = repeat
        self._seed = seed
        self.began = look(server)

    def measurement(self, verdict: Verdict, reason: str | None = None, **fields: Any) -> Measurement:
        """Return the repeat, which ends now."""
        return Measurement(
            self._repeat,
            self._seed,
            verdict,
            reason,
            began_at=_iso(self.began.wall_s),
            duration_s=round(time.monotonic() - self.began.monotonic_s, 3),
            **fields,
        )

    def failed(self, reason: str, error: MixvllmError | None = None) -> Measurement:
        """Return that the repeat failed."""
        return self.measurement("failed", reason, error=error)

    def rates(self, ended: Moment) -> Rates:
        """Return what the server counted until `ended`."""
        if self.began.engine is None or ended.engine is None:
            return Rates()
        return rates(self.began.engine, ended.engine, ended.monotonic_s - self.began.monotonic_s)

    def server_metrics(self, ended: Moment) -> dict[str, float]:
        """Return what server and GPUs did until `ended`, by name with unit; what is not known is left out."""
        found = {ours: getattr(self.rates(ended), name) for name, ours in _RATES.items()}
        if self.began.engine and ended.engine:
            found["num_http_5xx"] = _more(self.began.engine.num_http_errors, ended.engine.num_http_errors)
        begin, end = _iso(self.began.wall_s), _iso(ended.wall_s)
        samples = [s for s in read_samples(self._server.folder) if begin <= str(s.get("time")) <= end]
        return {name: value for name, value in {**found, **sampled(samples)}.items() if value is not None}


def look(server: Server) -> Moment:
    """Return a look at `server` now."""
    monotonic_s, wall_s = time.monotonic(), time.time()
    text = server.client.metrics()
    return Moment(monotonic_s, wall_s, None if text is None else read_metrics(text))


def sampled(samples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return what only shows over time: the use of the KV cache, and of the GPUs; empty where nothing was sampled."""
    samples = list(samples)
    kv_cache = [usage for s in samples if (usage := (s.get("engine") or {}).get("kv_cache_usage_fraction")) is not None]
    busy = list(_of_gpus(samples, "utilization_percent"))
    memory = list(_of_gpus(samples, "memory_used_gib"))
    found: dict[str, float] = {"num_samples": len(samples)}
    if kv_cache:
        found["kv_cache_usage_max_fraction"] = max(kv_cache)
    if busy:
        found |= {"gpu_utilization_mean_percent": round(fmean(busy), 1), "gpu_utilization_max_percent": max(busy)}
    if memory:
        found |= {"gpu_memory_mean_gib": round(fmean(memory), 2), "gpu_memory_max_gib": max(memory)}
    return found


def _of_gpus(samples: Iterable[Mapping[str, Any]], name: str) -> Iterator[float]:
    for sample in samples:
        for gpu in sample.get("gpus") or []:
            if gpu.get(name) is not None:
                yield gpu[name]


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _iso(wall_s: float) -> str:
    """Return a moment as the samples have it, so that texts compare as moments do."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds")
