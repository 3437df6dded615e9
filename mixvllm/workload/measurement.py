"""What one repeat of a measurement yields, and whether it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.errors import MixvllmError

Verdict = Literal["ok", "invalid", "failed"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""The best one first."""


@dataclass(frozen=True)
class Measurement:
    """One repeat.

    Args:
        repeat: counted from 0.
        seed: of its requests.
        verdict: ok; invalid: there are numbers, and they do not mean what they say; failed: there are none.
        reason: why it is not ok.
        metrics: by name, each with its unit in it; empty where it failed.
        server_metrics: what the server and the GPUs did meanwhile, likewise.
        remarks: what is worth knowing, and no reason against it.
        result: the file of the program that measured, as it wrote it; None where there is none.
        began_at: ISO 8601.
        duration_s: of the repeat, all in.
        error: what it failed of, where the server is the cause.
    """

    repeat: int
    seed: int
    verdict: Verdict
    reason: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    server_metrics: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    result: Path | None = None
    began_at: str = ""
    duration_s: float = 0.0
    error: MixvllmError | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "repeat": self.repeat,
            "seed": self.seed,
            "verdict": self.verdict,
            "reason": self.reason,
            "metrics": dict(self.metrics),
            "server_metrics": dict(self.server_metrics),
            "remarks": list(self.remarks),
            "result": None if self.result is None else str(self.result),
            "began_at": self.began_at,
            "duration_s": self.duration_s,
        }


def is_number(value: object) -> bool:
    """Whether `value` is a finite number, as metrics are."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def seed_of(workload: WorkloadConfig, repeat: int) -> int:
    """Return the seed of one repeat, counted from 0: each has its own, so that none finds the prompts of another."""
    return workload.seed + repeat
