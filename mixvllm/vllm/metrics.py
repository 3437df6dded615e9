"""What a vLLM server tells of itself at `/metrics`. Names as in vLLM 0.32; one that is missing is None, never an error.

prometheus-client is imported when a text is read, not before: a launch does not need it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite, isinf
from typing import TYPE_CHECKING, Any

from mixvllm.vllm.histogram import Histogram

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_CACHE_USAGE = "vllm:kv_cache_usage_perc"
SLEEP_STATE = "vllm:engine_sleep_state"
PROMPT_TOKENS = "vllm:prompt_tokens_total"
GENERATION_TOKENS = "vllm:generation_tokens_total"
ITERATIONS = "vllm:iteration_tokens_total_count"
PREEMPTIONS = "vllm:num_preemptions_total"
FINISHED = "vllm:request_success_total"
PREFIX_CACHE_QUERIES = "vllm:prefix_cache_queries_total"
PREFIX_CACHE_HITS = "vllm:prefix_cache_hits_total"
HTTP_REQUESTS = "http_requests_total"
TTFT = "vllm:time_to_first_token_seconds"
ITL = "vllm:inter_token_latency_seconds"
E2E = "vllm:e2e_request_latency_seconds"
QUEUE = "vllm:request_queue_time_seconds"

_NUMBERS = {
    RUNNING,
    WAITING,
    KV_CACHE_USAGE,
    SLEEP_STATE,
    PROMPT_TOKENS,
    GENERATION_TOKENS,
    ITERATIONS,
    PREEMPTIONS,
    FINISHED,
    PREFIX_CACHE_QUERIES,
    PREFIX_CACHE_HITS,
    HTTP_REQUESTS,
}
_HISTOGRAMS = (TTFT, ITL, E2E, QUEUE)
WANTED = _NUMBERS | {f"{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum")}
"""The names of all lines that are read."""

_FAILED = ("abort", "error")


@dataclass(frozen=True)
class EngineMetrics:
    """A server at one moment, all its engines (data parallel) together; None where it does not tell.

    The numbers of requests are the engine's own, as of its last step: of requests that came after it hung they know
    nothing, and of those that it left in the middle they go on telling.

    Args:
        kv_cache_usage: fraction of the KV cache in use, 0 to 1; of several engines the mean.
        prompt_tokens: total since the server began, as all that follow.
        num_iterations: steps of the engine that made tokens.
        finished: requests by the reason that they finished for, e.g. `stop`, `length`, `abort`, `error`. vLLM 0.32
            does not count those whose client went away.
        prefix_cache_queries: tokens that were looked up in the prefix cache.
        prefix_cache_hits: those that were there.
        ttft: from a request's arrival to its first token.
        itl: from one token to the next one.
        e2e: from a request's arrival to its last token.
        queue: that requests waited.
        num_http_requests: answered, less `/health`, `/metrics` and their like; also those that a client gave up.
        num_http_errors: of those, answered with a status of 500 or above.
        is_asleep: whether an engine was put to sleep, and rightly answers nothing.
        engines: each one by itself, by its index; without what only the HTTP server knows.
    """

    num_requests_running: int | None = None
    num_requests_waiting: int | None = None
    kv_cache_usage: float | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    num_iterations: int | None = None
    num_preemptions: int | None = None
    finished: Mapping[str, int] | None = None
    prefix_cache_queries: int | None = None
    prefix_cache_hits: int | None = None
    ttft: Histogram | None = None
    itl: Histogram | None = None
    e2e: Histogram | None = None
    queue: Histogram | None = None
    num_http_requests: int | None = None
    num_http_errors: int | None = None
    is_asleep: bool = False
    engines: Mapping[str, EngineMetrics] = field(default_factory=dict)

    @property
    def num_successes(self) -> int | None:
        """Requests that were answered whole."""
        return None if self.finished is None else sum(self.finished.values()) - self.num_failures

    @property
    def num_failures(self) -> int:
        """Requests that ended by `abort` or `error`."""
        return sum((self.finished or {}).get(reason, 0) for reason in _FAILED)

    @property
    def num_requests(self) -> int:
        """Requests that the engine has, as far as it told."""
        return (self.num_requests_running or 0) + (self.num_requests_waiting or 0)

    @property
    def progress(self) -> tuple[float, ...] | None:
        """What differs between two moments where an engine did anything between them; None where nothing is told."""
        told = (
            self.prompt_tokens,
            self.generation_tokens,
            self.num_iterations,
            self.num_successes,
            self.num_preemptions,
            self.prefix_cache_queries,
            self.kv_cache_usage,
        )
        return None if all(value is None for value in told) else tuple(-1.0 if v is None else float(v) for v in told)

    def record(self) -> dict[str, Any]:
        """Return the numbers, without the histograms, as JSON has them."""
        return {
            "num_requests_running": self.num_requests_running,
            "num_requests_waiting": self.num_requests_waiting,
            "kv_cache_usage_fraction": None if self.kv_cache_usage is None else round(self.kv_cache_usage, 4),
            "num_prompt_tokens_total": self.prompt_tokens,
            "num_generation_tokens_total": self.generation_tokens,
            "num_iterations_total": self.num_iterations,
            "num_preemptions_total": self.num_preemptions,
            "num_finished_total": None if self.finished is None else dict(self.finished),
            "num_prefix_cache_queried_tokens_total": self.prefix_cache_queries,
            "num_prefix_cache_hit_tokens_total": self.prefix_cache_hits,
            "num_http_requests_total": self.num_http_requests,
            "num_http_errors_total": self.num_http_errors,
            "is_asleep": self.is_asleep,
        }


def read_metrics(text: str) -> EngineMetrics:
    """Return what `text`, the answer of `/metrics`, tells; a line that cannot be read is passed over."""
    by_name: dict[str, list[Sample]] = defaultdict(list)
    by_engine: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in _samples(text):
        by_name[sample.name].append(sample)
        if "engine" in sample.labels:
            by_engine[sample.labels["engine"]][sample.name].append(sample)
    engines = {name: _collect(samples, {}) for name, samples in sorted(by_engine.items())}
    return _collect(by_name, engines)


def _samples(text: str) -> Iterator[Sample]:
    from prometheus_client.parser import text_string_to_metric_families as parse  # noqa: PLC0415 - see above

    for line in text.split("\n"):
        if line[: _name_length(line)] in WANTED:
            with suppress(ValueError):
                yield from [sample for family in parse(line) for sample in family.samples if isfinite(sample.value)]


def _name_length(line: str) -> int:
    ends = [end for end in (line.find("{"), line.find(" ")) if end >= 0]
    return min(ends, default=0)


def _collect(samples: Mapping[str, list[Sample]], engines: Mapping[str, EngineMetrics]) -> EngineMetrics:
    def total(name: str, counts: Callable[[Mapping[str, str]], bool] = lambda _labels: True) -> int | None:
        values = [sample.value for sample in samples.get(name, []) if counts(sample.labels)]
        return int(sum(values)) if name in samples else None

    usages = [sample.value for sample in samples.get(KV_CACHE_USAGE, [])]
    return EngineMetrics(
        num_requests_running=total(RUNNING),
        num_requests_waiting=total(WAITING),
        kv_cache_usage=sum(usages) / len(usages) if usages else None,
        prompt_tokens=total(PROMPT_TOKENS),
        generation_tokens=total(GENERATION_TOKENS),
        num_iterations=total(ITERATIONS),
        num_preemptions=total(PREEMPTIONS),
        finished=_by_reason(samples.get(FINISHED)),
        prefix_cache_queries=total(PREFIX_CACHE_QUERIES),
        prefix_cache_hits=total(PREFIX_CACHE_HITS),
        ttft=_histogram(samples, TTFT),
        itl=_histogram(samples, ITL),
        e2e=_histogram(samples, E2E),
        queue=_histogram(samples, QUEUE),
        num_http_requests=total(HTTP_REQUESTS),
        num_http_errors=total(HTTP_REQUESTS, lambda labels: labels.get("status", "").startswith("5")),
        is_asleep=any(
            sample.value == 0 for sample in samples.get(SLEEP_STATE, []) if sample.labels.get("sleep_state") == "awake"
        ),
        engines=engines,
    )


def _by_reason(samples: Iterable[Sample] | None) -> dict[str, int] | None:
    if samples is None:
        return None
    counts: dict[str, int] = defaultdict(int)
    for sample in samples:
        counts[sample.labels.get("finished_reason", "unknown")] += int(sample.value)
    return dict(counts)


def _histogram(samples: Mapping[str, list[Sample]], name: str) -> Histogram | None:
    counts: dict[float, float] = defaultdict(float)
    for sample in samples.get(f"{name}_bucket", []):
        counts[float(sample.labels["le"])] += sample.value
    bounds = tuple(sorted(counts))
    if not bounds or not isinf(bounds[-1]):
        return None
    sum_s = sum(sample.value for sample in samples.get(f"{name}_sum", []))
    return Histogram(bounds, tuple(counts[bound] for bound in bounds), sum_s)
