"""The phases of a start-up, as vLLM's log tells them. Checked against logs of 0.30 to 0.32."""

from __future__ import annotations

import re
from dataclasses import dataclass

PHASES = ("imports", "engine", "weights", "compile", "kv_cache", "warmup", "http")
"""In order: Python imports and arguments, engine processes, weights, compilation, KV cache, warm-up, HTTP server."""

STALL_S = {
    "imports": 300.0,
    "engine": 300.0,
    "weights": 900.0,
    "compile": 900.0,
    "kv_cache": 300.0,
    "warmup": 600.0,
    "http": 120.0,
}
"""Seconds that each phase may pass without any sign of life: weights come over networks, compilers run elsewhere."""

_BEGINNINGS = (
    ("engine", re.compile(r"non-default args: \{")),
    ("weights", re.compile(r"Starting to load model ")),
    ("compile", re.compile(r"Loading weights took [\d.]+ seconds|torch\.compile takes|Dynamo bytecode transform")),
    ("kv_cache", re.compile(r"Available KV cache memory|KV cache size: [\d,]+ tokens")),
    ("warmup", re.compile(r"Capturing CUDA graphs|Warming up model|Warming up done")),
    ("http", re.compile(r"Starting vLLM server on |init engine \(.*\) took")),
)


@dataclass
class StartupPhases:
    """Follows a log line by line; a phase never goes back, since the processes of a server interleave their lines."""

    current: str = PHASES[0]

    def read(self, line: str) -> bool:
        """Take one line of the log; return whether it began a later phase."""
        for name, pattern in _BEGINNINGS:
            if PHASES.index(name) > PHASES.index(self.current) and pattern.search(line):
                self.current = name
                return True
        return False
