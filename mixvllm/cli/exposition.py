"""All servers of this user as Prometheus reads them, and whether they are well; from the files of their run folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from mixvllm.machine import GIB
from mixvllm.runs.journal import STATES
from mixvllm.runs.snapshot import Snapshot, number_in

_LABELS = ("run", "model", "attempt")
_ALL_STATES = tuple(dict.fromkeys(STATES.values()))

_Source = tuple[str, str, str, str, float]

_GAUGES: tuple[_Source, ...] = (
    ("requests_running", "Requests in the engine's batch.", "engine", "num_requests_running", 1),
    ("requests_waiting", "Requests that wait for a place in it.", "engine", "num_requests_waiting", 1),
    ("kv_cache_usage_ratio", "Share of the KV cache in use.", "engine", "kv_cache_usage_fraction", 1),
    ("prompt_tokens_per_second", "Prompt tokens in the last period.", "rates", "prompt_tokens_per_s", 1),
    ("generation_tokens_per_second", "Generated tokens in the last period.", "rates", "generation_tokens_per_s", 1),
    ("requests_per_second", "Requests finished in the last period.", "rates", "requests_per_s", 1),
    ("http_error_ratio", "Share of answers 5xx in the last period.", "rates", "http_error_fraction", 1),
    ("time_to_first_token_p50_seconds", "Median in the last period.", "rates", "ttft_p50_ms", 1e-3),
    ("time_to_first_token_p95_seconds", "95th percentile in the last period.", "rates", "ttft_p95_ms", 1e-3),
    ("queue_time_p95_seconds", "95th percentile in the last period.", "rates", "queue_p95_ms", 1e-3),
    ("processes", "Processes of the server.", "processes", "num_processes", 1),
    ("cpu_cores", "CPU cores in use.", "processes", "cpu_percent", 1e-2),
    ("resident_memory_bytes", "Resident memory of all processes.", "processes", "rss_gib", GIB),
    ("proportional_memory_bytes", "The same, shared memory once.", "processes", "pss_gib", GIB),
)
"""Name and help of a metric, where in a sample its value is, and its unit in Prometheus' base unit."""

_COUNTERS: tuple[_Source, ...] = (
    ("prompt_tokens", "Prompt tokens.", "engine", "num_prompt_tokens_total", 1),
    ("generation_tokens", "Generated tokens.", "engine", "num_generation_tokens_total", 1),
    ("preemptions", "Preempted requests.", "engine", "num_preemptions_total", 1),
    ("http_requests", "Answered requests.", "engine", "num_http_requests_total", 1),
    ("http_errors", "Requests answered with 5xx.", "engine", "num_http_errors_total", 1),
)

_GPU_GAUGES: tuple[tuple[str, str, str, float], ...] = (
    ("gpu_utilization_ratio", "Share of time in which the GPU was busy.", "utilization_percent", 1e-2),
    ("gpu_memory_used_bytes", "Memory in use on the GPU, by whomever.", "memory_used_gib", GIB),
    ("gpu_memory_total_bytes", "Memory of the GPU.", "memory_total_gib", GIB),
    ("gpu_power_watts", "Power that the GPU draws.", "power_w", 1),
    ("gpu_temperature_celsius", "Temperature of the GPU.", "temperature_c", 1),
)


def exposition(runs: Sequence[Snapshot]) -> bytes:
    """Return `runs` in Prometheus' text format. What is not known now has no line, rather than an old value."""
    registry = CollectorRegistry()
    registry.register(_Collector([(_labels(runs, run), run) for run in runs]))
    return generate_latest(registry)


def health(runs: Sequence[Snapshot]) -> tuple[bool, dict[str, Any]]:
    """Return whether all runs that have not ended serve, and which do and which do not, as JSON has it."""
    living = [run for run in runs if not run.is_ended]
    up = [run.run for run in living if run.is_up]
    others = [
        {"run": run.run, "model": run.model, "state": run.state, "reason": _reason(run)}
        for run in living
        if not run.is_up
    ]
    return not others, {"status": "unhealthy" if others else "ok", "ready": up, "not_ready": others}


class _Collector:
    def __init__(self, runs: Sequence[tuple[list[str], Snapshot]]) -> None:
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of every run."""
        yield self._gauge("server_up", "Whether the server is ready, and answered lately.", lambda run: run.is_up)
        yield self._states()
        yield self._gauge("server_uptime_seconds", "Time since the server was ready.", lambda run: run.uptime_s)
        yield self._gauge("server_restarts", "Starts of the server after the first.", lambda run: run.attempt - 1)
        for name, words, part, key, unit in _GAUGES:
            yield self._gauge(name, words, _reader(part, key, unit))
        for name, words, part, key, unit in _COUNTERS:
            family = CounterMetricFamily(f"mixvllm_{name}", words, labels=_LABELS)
            yield self._fill(family, _reader(part, key, unit))
        yield self._finished()
        for name, words, key, unit in _GPU_GAUGES:
            yield self._gpus(name, words, key, unit)

    def _gauge(self, name: str, words: str, read: Callable[[Snapshot], float | None]) -> Metric:
        return self._fill(GaugeMetricFamily(f"mixvllm_{name}", words, labels=_LABELS), read)

    def _fill(
        self, family: GaugeMetricFamily | CounterMetricFamily, read: Callable[[Snapshot], float | None]
    ) -> Metric:
        for labels, run in self._runs:
            value = read(run)
            if value is not None:
                family.add_metric(labels, float(value))
        return family

    def _states(self) -> Metric:
        family = GaugeMetricFamily("mixvllm_server_state", "1 for the state it is in.", labels=(*_LABELS, "state"))
        for labels, run in self._runs:
            for state in dict.fromkeys((*_ALL_STATES, run.state)):
                family.add_metric([*labels, state], float(state == run.state))
        return family

    def _finished(self) -> Metric:
        family = CounterMetricFamily(
            "mixvllm_requests_finished", "Requests by how they ended.", labels=(*_LABELS, "reason")
        )
        for labels, run in self._runs:
            for reason, count in _finished_counts(run).items():
                family.add_metric([*labels, reason], count)
        return family

    def _gpus(self, name: str, words: str, key: str, unit: float) -> Metric:
        family = GaugeMetricFamily(f"mixvllm_{name}", words, labels=(*_LABELS, "gpu"))
        for labels, run in self._runs:
            for gpu in run.gpus():
                value = number_in(gpu, key)
                if value is not None:
                    family.add_metric([*labels, str(gpu.get("id"))], value * unit)
        return family


def _labels(runs: Sequence[Snapshot], run: Snapshot) -> list[str]:
    """Return the values of `_LABELS`; two runs of one name are told apart by their folders."""
    is_unique = Counter(other.run for other in runs)[run.run] == 1
    return [run.run if is_unique else str(run.folder.path), run.model, str(run.attempt)]


def _reader(part: str, key: str, unit: float) -> Callable[[Snapshot], float | None]:
    def read(run: Snapshot) -> float | None:
        value = run.number(part, key)
        return None if value is None else value * unit

    return read


def _finished_counts(run: Snapshot) -> Mapping[str, float]:
    engine = (run.sample or {}).get("engine")
    counts = engine.get("num_finished_total") if isinstance(engine, dict) else None
    return {str(reason): number_in(counts, reason) or 0.0 for reason in counts} if isinstance(counts, dict) else {}


def _reason(run: Snapshot) -> str:
    if run.is_stale:
        return "no samples: its launcher is gone, or cannot write"
    if run.state == "ready":
        return "the server does not answer" if run.sample is not None else "no sample yet"
    return str(run.status.get("cause") or run.status.get("phase") or run.state).partition("\n")[0]
