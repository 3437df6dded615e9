"""What the name of a metric says: its unit, its words, and which way is better."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

_UNITS = (
    ("_tokens_per_s", "tokens/s"),
    ("request_throughput_per_s", "requests/s"),
    ("request_goodput_per_s", "requests/s"),
    ("request_rate_per_s", "requests/s"),
    ("_per_s", "1/s"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_min", "min"),
    ("_gib", "GiB"),
    ("_mib", "MiB"),
    ("_bytes", "bytes"),
    ("_percent", "%"),
    ("_fraction", "fraction, 0 to 1"),
    ("_ratio", "ratio"),
    ("_tokens", "tokens"),
    ("_w", "W"),
    ("_j", "J"),
    ("_concurrency", "requests at once"),
    ("_requests", "requests"),
)
_COUNT = re.compile(r"(^|[._])num_|(^|\.)total_")
_BETTER_HIGHER = re.compile(
    r"(throughput|goodput|tokens|request_rate)\w*_per_s$|_hit_fraction$|slo_max_concurrency$|accept"
)
_BETTER_LOWER = re.compile(r"(ttft|tpot|itl|e2el|latency|queue)\w*_ms$|(fail|error|preempt)|^duration_s$")
_WORDS = {
    "ttft": "time to first token",
    "tpot": "time per output token, after the first",
    "itl": "time between two tokens",
    "e2el": "time from a request to its last token",
}

_KEY_UNITS = (
    (re.compile(r"(_len|_tokens|_range)$"), "tokens"),
    (re.compile(r"(request_rate|_rps)$"), "requests/s"),
    (re.compile(r"(_concurrency|_seqs)$"), "requests at once"),
    (re.compile(r"_parallel_size$"), "GPUs"),
    (re.compile(r"(_prompts|_warmups)$"), "requests"),
    (re.compile(r"gpu_memory_utilization$"), "fraction of GPU memory"),
    (re.compile(r"_gi?b$"), "GiB"),
    (re.compile(r"_bytes$"), "bytes"),
    (re.compile(r"_s$"), "s"),
)

NO_UNIT = "no unit in its name"


@dataclass(frozen=True)
class Metric:
    """A metric by its name.

    Args:
        name: as in `results.csv`.
        unit: of its values; `NO_UNIT` where the name has none.
        is_higher_better: None where it is not known which way is better.
    """

    name: str
    unit: str
    is_higher_better: bool | None

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name} ({self.unit})"

    @property
    def is_throughput(self) -> bool:
        """Whether it counts what a whole server does in a second, so that it can be shared among its GPUs."""
        return self.name.endswith("_per_s") and self.is_higher_better is True

    @property
    def is_latency(self) -> bool:
        """Whether it is a time that one request waits."""
        return self.unit == "ms" and self.is_higher_better is False

    @property
    def words(self) -> str:
        """What an abbreviation in the name stands for; empty where there is none."""
        return next((words for short, words in _WORDS.items() if short in self.name), "")


@cache
def metric_of(name: str) -> Metric:
    """Return what the name of a metric says."""
    if name.removeprefix("server.").startswith(("std_", "sd_")):
        return Metric(name, _unit(name), None)
    better = True if _BETTER_HIGHER.search(name) else False if _BETTER_LOWER.search(name) else None
    return Metric(name, _unit(name), better)


def key_label(key: str) -> str:
    """Return a key of the configuration with the unit of its values, for an axis."""
    unit = next((unit for pattern, unit in _KEY_UNITS if pattern.search(key)), "as configured")
    return f"{key} ({unit})"


def _unit(name: str) -> str:
    found = next((unit for ending, unit in _UNITS if name.endswith(ending)), "")
    return found or ("count" if _COUNT.search(name) else NO_UNIT)
