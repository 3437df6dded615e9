"""A run in words for `mixvllm top`: as a block of lines, as a row, as one plain line, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from statistics import mean

from mixvllm.runs.snapshot import Snapshot, number_in

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_CHARS = 16
_UNKNOWN = "-"

ROW_HEADINGS = ("model", "state", "up", "run", "wait", "in/s", "out/s", "p95 ms", "KV", "5xx", "GPU")
"""Of `row`, in order."""

MAX_NUMBERS_WIDTH = 67
"""Columns that a row takes at the most, less the model's."""


def state_words(run: Snapshot) -> str:
    """Return the state, and what keeps it from being good."""
    if run.is_stale:
        return f"{run.state}, no samples"
    if run.state == "ready" and run.sample is not None and not run.is_up:
        return "ready, no answer"
    phase = run.status.get("phase")
    return f"{run.state}, {phase}" if run.state == "starting" and phase else run.state


def block(run: Snapshot, *, is_unicode: bool = True) -> list[str]:
    """Return what there is to know of a run beside its name and state, in lines that 80 columns hold.

    Args:
        run: as recorded.
        is_unicode: whether the terminal shows more than ASCII.
    """
    lines = [f"  {words}" for words in (run.status.get("url"), _cause(run)) if words]
    if run.sample is None:
        return lines
    spark = sparkline([_generation_rate(sample) for sample in run.samples]) if is_unicode else ""
    return [*lines, *_traffic(run, spark), _machine(run)]


def row(run: Snapshot) -> list[str]:
    """Return a cell for each of `ROW_HEADINGS`."""
    return [
        run.model or run.folder.name,
        _short_state(run),
        duration(run.uptime_s),
        _of(run, "engine", "num_requests_running", count),
        _of(run, "engine", "num_requests_waiting", count),
        _of(run, "rates", "prompt_tokens_per_s", count),
        _of(run, "rates", "generation_tokens_per_s", count),
        _of(run, "rates", "ttft_p95_ms", count),
        _of(run, "engine", "kv_cache_usage_fraction", percent),
        _of(run, "engine", "num_http_errors_total", count),
        _gpu_share(run),
    ]


def plain_line(run: Snapshot) -> str:
    """Return all that is known as one line of `name=value`, for a pipe or a log."""
    parts = {
        "state": _short_state(run),
        "model": run.model or _UNKNOWN,
        "url": run.status.get("url") or _UNKNOWN,
        "up": duration(run.uptime_s),
        "running": _of(run, "engine", "num_requests_running"),
        "waiting": _of(run, "engine", "num_requests_waiting"),
        "in_tokens_per_s": _of(run, "rates", "prompt_tokens_per_s"),
        "out_tokens_per_s": _of(run, "rates", "generation_tokens_per_s"),
        "ttft_p50_ms": _of(run, "rates", "ttft_p50_ms"),
        "ttft_p95_ms": _of(run, "rates", "ttft_p95_ms"),
        "kv": _of(run, "engine", "kv_cache_usage_fraction", percent),
        "preempted": _of(run, "engine", "num_preemptions_total"),
        "errors_5xx": _of(run, "engine", "num_http_errors_total"),
        "gpu": _gpu_share(run),
        "cpu": _of(run, "processes", "cpu_percent", _percent_of_core),
        "rss_gib": _of(run, "processes", "rss_gib", "{:.2f}".format),
    }
    return f"{run.now:%Y-%m-%dT%H:%M:%SZ} {run.folder.name} " + " ".join(
        f"{name}={value}" for name, value in parts.items()
    )


def json_line(run: Snapshot) -> str:
    """Return all that is known as one JSON object in a line."""
    return json.dumps(
        {
            "time": run.now.isoformat(timespec="milliseconds"),
            "run": run.run,
            "folder": str(run.folder.path),
            "model": run.model,
            "state": run.state,
            "is_up": run.is_up,
            "is_stale": run.is_stale,
            "attempt": run.attempt,
            "url": run.status.get("url"),
            "uptime_s": None if run.uptime_s is None else round(run.uptime_s, 3),
            "sample": run.sample,
        },
        ensure_ascii=False,
    )


def sparkline(values: Sequence[float | None], num_chars: int = _SPARK_CHARS) -> str:
    """Return the newest values as bars, the highest one full; a blank where there is none."""
    newest = values[-num_chars:]
    top = max((value for value in newest if value is not None), default=0.0)
    return "".join(" " if value is None else _bar(value, top) for value in newest)


def duration(seconds: float | None) -> str:
    """Return a time span, e.g. `0:59`, `1:02:03`, `12d 03h`."""
    if seconds is None:
        return _UNKNOWN
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours // 24}d {hours % 24:02}h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(value: float) -> str:
    """Return a number in at most 6 characters, e.g. `16`, `4,512`, `13.0k`, `2.5M`."""
    for limit, unit, divisor in ((10_000, "", 1), (1e6, "k", 1e3), (1e9, "M", 1e6)):
        if abs(value) < limit:
            return f"{value / divisor:.1f}{unit}" if unit else f"{value:,.0f}"
    return f"{value / 1e9:.1f}G"


def percent(fraction: float) -> str:
    """Return a fraction as a percentage."""
    return f"{fraction * 100:.0f}%"


def _short_state(run: Snapshot) -> str:
    if run.state != "ready":
        return run.state
    return "stale" if run.is_stale else "ready" if run.is_up or run.sample is None else "silent"


def _traffic(run: Snapshot, spark: str) -> list[str]:
    per_s, engine = "rates", "engine"
    counts = (
        f"KV {_of(run, engine, 'kv_cache_usage_fraction', percent)}",
        f"{_of(run, engine, 'num_preemptions_total', count)} preempted",
        f"{_of(run, engine, 'num_http_errors_total', count)} errors",
    )
    return [
        _line(
            "requests",
            f"{_of(run, engine, 'num_requests_running'):>6} running",
            f"{_of(run, engine, 'num_requests_waiting'):>6} waiting",
            f"{_of(run, per_s, 'requests_per_s', '{:.1f}'.format)}/s done",
        ),
        _line(
            "tokens/s",
            f"{_of(run, per_s, 'prompt_tokens_per_s', count):>6} in",
            f"{_of(run, per_s, 'generation_tokens_per_s', count):>6} out",
            spark,
        ),
        _line(
            "1st token",
            f"{_of(run, per_s, 'ttft_p50_ms'):>6} ms p50",
            f"{_of(run, per_s, 'ttft_p95_ms'):>6} ms p95",
            ", ".join(counts),
        ),
    ]


def _machine(run: Snapshot) -> str:
    return _line(
        "machine",
        f"{_of(run, 'processes', 'cpu_percent', _percent_of_core):>6} CPU",
        f"{_of(run, 'processes', 'rss_gib', '{:.1f}'.format):>6} GiB RSS",
        ", ".join([*_gpu_words(run), f"{_of(run, 'processes', 'num_processes')} procs"]),
    )


def _line(label: str, first: str, second: str, rest: str) -> str:
    return f"  {label:<9} {first:<16} {second:<16} {rest}".rstrip()


def _gpu_words(run: Snapshot) -> list[str]:
    gpus = run.gpus()
    if not gpus:
        return []
    used, total = ([number_in(gpu, name) or 0.0 for gpu in gpus] for name in ("memory_used_gib", "memory_total_gib"))
    name = "GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    return [f"{name} {_gpu_share(run)} {sum(used):.0f}/{sum(total):.0f} GiB"]


def _gpu_share(run: Snapshot) -> str:
    shares = [share for gpu in run.gpus() if (share := number_in(gpu, "utilization_percent")) is not None]
    return f"{mean(shares):.0f}%" if shares else _UNKNOWN


def _of(run: Snapshot, part: str, name: str, show: Callable[[float], str] = "{:.0f}".format) -> str:
    value = run.number(part, name)
    return _UNKNOWN if value is None else show(value)


def _percent_of_core(value: float) -> str:
    return f"{value:.0f}%"


def _cause(run: Snapshot) -> str:
    return str(run.status.get("cause") or "").partition("\n")[0]


def _generation_rate(sample: dict[str, object]) -> float | None:
    found = sample.get("rates")
    return number_in(found, "generation_tokens_per_s") if isinstance(found, dict) else None


def _bar(value: float, top: float) -> str:
    return _BARS[round(value / top * (len(_BARS) - 1)) if top else 0]
