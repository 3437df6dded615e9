"""What servers did over time, thinned until all of it fits into a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from mixvllm.report.fields import mapping_in, mappings_in, number_in, text_in
from mixvllm.report.servers import ServerRun
from mixvllm.report.study import StudyPoint

_MAX_SAMPLES = 40_000
"""In a page, of all servers together: about 2 MB."""

_MOST, _FEWEST = 300, 40
"""Samples of one server."""

_FIELDS: tuple[tuple[str, str, str], ...] = (
    ("running", "engine", "num_requests_running"),
    ("waiting", "engine", "num_requests_waiting"),
    ("generation", "rates", "generation_tokens_per_s"),
    ("prompt", "rates", "prompt_tokens_per_s"),
    ("kv_cache", "engine", "kv_cache_usage_fraction"),
    ("ttft", "rates", "ttft_mean_ms"),
    ("itl", "rates", "itl_mean_ms"),
    ("cpu", "processes", "cpu_percent"),
    ("memory", "processes", "pss_gib"),
)
_OF_GPU = (("utilization", "utilization_percent"), ("gpu_memory", "memory_used_gib"), ("power", "power_w"))


def num_shown(num_servers: int) -> int:
    """Return of how many of `num_servers` the samples are kept."""
    return min(num_servers, _MAX_SAMPLES // _FEWEST)


def series_of(server: ServerRun, num_servers: int) -> dict[str, list[float | None]]:
    """Return columns of equal length by name: `t` in seconds since the start, and what is known at each time.

    Where there are more samples than there is room for, neighbours are averaged.

    Args:
        num_servers: that share the room of the page.
    """
    most = max(_FEWEST, min(_MOST, _MAX_SAMPLES // max(1, num_servers)))
    rows = [row for sample in server.samples() if (row := _row(sample))["t"] is not None]
    size = -(-len(rows) // most) or 1
    buckets = [rows[begin : begin + size] for begin in range(0, len(rows), size)]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    return {name: [_mean([row.get(name) for row in bucket]) for bucket in buckets] for name in names}


def spans_of(server: ServerRun, points: Sequence[tuple[int, StudyPoint]]) -> list[list[Any]]:
    """Return when points were measured on `server`: position of the point, repeat, begin and end in its seconds.

    Args:
        points: with their positions, shape (n,).
    """
    began = _began(server)
    if began is None:
        return []
    spans = []
    for at, point in points:
        for repeat in point.repeats:
            moment = _moment(repeat.began_at)
            if repeat.server_run == server.name and moment is not None and repeat.duration_s:
                start_s = (moment - began).total_seconds()
                spans.append([at, repeat.number, round(start_s, 1), round(start_s + repeat.duration_s, 1)])
    return spans


def _row(sample: Mapping[str, Any]) -> dict[str, float | None]:
    row = {"t": number_in(sample, "elapsed_s")}
    row |= {name: number_in(mapping_in(sample, part), field) for name, part, field in _FIELDS}
    for gpu in mappings_in(sample, "gpus"):
        number = gpu.get("id")
        row |= {f"{name}.{number}": number_in(gpu, field) for name, field in _OF_GPU}
    return row


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{fmean(known):.4g}") if known else None


def _began(server: ServerRun) -> datetime | None:
    for sample in server.samples():
        moment, elapsed_s = _moment(text_in(sample, "time")), number_in(sample, "elapsed_s")
        if moment is not None and elapsed_s is not None:
            return datetime.fromtimestamp(moment.timestamp() - elapsed_s, moment.tzinfo)
    return None


def _moment(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None
