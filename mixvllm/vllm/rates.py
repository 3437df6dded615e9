"""What a server did between two looks at its metrics."""

from __future__ import annotations

from dataclasses import dataclass

from mixvllm.vllm.histogram import Histogram
from mixvllm.vllm.metrics import EngineMetrics


@dataclass(frozen=True)
class Rates:
    """What happened in some seconds. None where nothing was counted, e.g. no first token came; never NaN.

    Args:
        requests_per_s: that were answered whole.
        num_failures: requests that ended by `abort` or `error`.
        num_http_requests: answered, with any status.
        http_error_fraction: of those, with a status of 500 or above, 0 to 1.
        prefix_cache_hit_fraction: of the tokens that were looked up in the prefix cache, 0 to 1.
        ttft_p95_ms: of 100 requests 95 had their first token within it; as exact as vLLM's buckets, see `Histogram`.
    """

    prompt_tokens_per_s: float | None = None
    generation_tokens_per_s: float | None = None
    requests_per_s: float | None = None
    num_failures: int | None = None
    num_preemptions: int | None = None
    num_http_requests: int | None = None
    http_error_fraction: float | None = None
    prefix_cache_hit_fraction: float | None = None
    ttft_mean_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    itl_mean_ms: float | None = None
    itl_p95_ms: float | None = None
    e2e_mean_ms: float | None = None
    e2e_p95_ms: float | None = None
    queue_mean_ms: float | None = None
    queue_p95_ms: float | None = None


def rates(before: EngineMetrics, after: EngineMetrics, seconds: float) -> Rates:
    """Return what happened between `before` and `after`, `seconds` apart; nothing where they are of two servers."""
    if seconds <= 0 or _began_anew(before, after):
        return Rates()
    ttft, itl = _since(before.ttft, after.ttft), _since(before.itl, after.itl)
    e2e, queue = _since(before.e2e, after.e2e), _since(before.queue, after.queue)
    num_http_requests = _more(before.num_http_requests, after.num_http_requests)
    return Rates(
        prompt_tokens_per_s=_per_s(_more(before.prompt_tokens, after.prompt_tokens), seconds),
        generation_tokens_per_s=_per_s(_more(before.generation_tokens, after.generation_tokens), seconds),
        requests_per_s=_per_s(_more(before.num_successes, after.num_successes), seconds),
        num_failures=None if after.finished is None else after.num_failures - before.num_failures,
        num_preemptions=_more(before.num_preemptions, after.num_preemptions),
        num_http_requests=num_http_requests,
        http_error_fraction=_fraction(_more(before.num_http_errors, after.num_http_errors), num_http_requests),
        prefix_cache_hit_fraction=_fraction(
            _more(before.prefix_cache_hits, after.prefix_cache_hits),
            _more(before.prefix_cache_queries, after.prefix_cache_queries),
        ),
        ttft_mean_ms=_mean_ms(ttft),
        ttft_p50_ms=_quantile_ms(ttft, 0.5),
        ttft_p95_ms=_quantile_ms(ttft, 0.95),
        itl_mean_ms=_mean_ms(itl),
        itl_p95_ms=_quantile_ms(itl, 0.95),
        e2e_mean_ms=_mean_ms(e2e),
        e2e_p95_ms=_quantile_ms(e2e, 0.95),
        queue_mean_ms=_mean_ms(queue),
        queue_p95_ms=_quantile_ms(queue, 0.95),
    )


def _began_anew(before: EngineMetrics, after: EngineMetrics) -> bool:
    """Whether a counter fell, which it does only where another server counts."""
    counters = (
        (before.prompt_tokens, after.prompt_tokens),
        (before.generation_tokens, after.generation_tokens),
        (before.num_successes, after.num_successes),
        (before.num_preemptions, after.num_preemptions),
        (before.prefix_cache_queries, after.prefix_cache_queries),
        (before.num_http_requests, after.num_http_requests),
    )
    return any(then is not None and now is not None and now < then for then, now in counters)


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _per_s(count: int | None, seconds: float) -> float | None:
    return None if count is None else round(count / seconds, 3)


def _fraction(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else round(part / whole, 4)


def _since(before: Histogram | None, after: Histogram | None) -> Histogram | None:
    return None if before is None or after is None else after.since(before)


def _mean_ms(durations: Histogram | None) -> float | None:
    return _ms(durations.mean_s if durations else None)


def _quantile_ms(durations: Histogram | None, fraction: float) -> float | None:
    return _ms(durations.quantile_s(fraction) if durations else None)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)
