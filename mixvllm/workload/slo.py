"""The workload `slo`: the highest load that one live server takes while latency stays within targets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixvllm.config.schema.workload import LATENCY_METRIC, WorkloadConfig
from mixvllm.runs.files import write_json
from mixvllm.workload.bench.measure import run_bench
from mixvllm.workload.measurement import Measurement, seed_of
from mixvllm.workload.slo_levels import Found, Levels, Measure, Missed, Step, next_move
from mixvllm.workload.task import RepeatTask

METRICS = {"request_rate": "slo_request_rate_per_s", "max_concurrency": "slo_max_concurrency"}
"""What the level that is found is called, by `workload.slo_vary`."""

_SEEDS_PER_REPEAT = 1000  # more than a search has steps

MeasureLevel = Callable[[WorkloadConfig, int], Measurement]
"""Measures the load of one level; the number is that of the step, from 0."""


@dataclass(frozen=True)
class Measured:
    """One step: its level, what was measured there, and which targets it missed."""

    level: float
    measurement: Measurement
    misses: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"level": self.level, "misses": list(self.misses), **self.measurement.record()}


def run_slo(task: RepeatTask) -> Measurement:
    """Return the highest level of `workload.slo_vary` that keeps the targets, and what was measured at it.

    Its files are in `slo-<repeat>/`: `steps.json`, and those of each step.

    Raises:
        Interrupted: a stop was asked for.
    """
    own = task.folder / f"slo-{task.repeat}"
    own.mkdir(mode=0o700, exist_ok=True)

    def measure(workload: WorkloadConfig, step: int) -> Measurement:
        config = task.config.model_copy(update={"workload": workload})
        return run_bench(replace(task, config=config, folder=own, repeat=step))

    return LevelSearch(task.config.workload, task.repeat, own / "steps.json", measure).run()


class LevelSearch:
    """One search, measured by whatever it is given.

    Args:
        workload: with the targets.
        repeat: counted from 0.
        record: file that gets every step as soon as it is measured.
        measure: measures one level.
    """

    def __init__(self, workload: WorkloadConfig, repeat: int, record: Path, measure: MeasureLevel) -> None:
        self._workload = workload
        self._repeat = repeat
        self._record = record
        self._measure = measure
        self._steps: list[Measured] = []
        self._began_s = time.monotonic()
        self._levels = Levels(
            workload.slo_min,
            workload.slo_max,
            workload.slo_precision,
            is_whole=workload.slo_vary == "max_concurrency",
        )

    def run(self) -> Measurement:
        """Measure until it is clear, and return the whole as one repeat."""
        while isinstance(move := self._next_move(), Measure):
            problem = self._take_step(move.level)
            if problem is not None:
                return self._outcome(verdict="failed", reason=problem, metrics={}, server_metrics={}, remarks=())
        return self._missed() if isinstance(move, Missed) else self._found(move)

    def _next_move(self) -> Measure | Found | Missed:
        return next_move([Step(step.level, not step.misses) for step in self._steps], self._levels)

    def _take_step(self, level: float) -> str | None:
        """Measure a level; return why the search cannot go on, or None."""
        step_workload = workload_at(self._workload, level, self._repeat, self._left_s())
        measurement = self._measure(step_workload, len(self._steps))
        missed = misses(measurement, self._workload.slo_metric_targets)
        self._steps.append(Measured(level, measurement, tuple(missed)))
        write_json(self._record, [step.record() for step in self._steps])
        problem = self._problem(measurement)
        return None if problem is None else f"{self._shown(self._steps[-1])}: {problem}"

    def _left_s(self) -> float | None:
        """Return the seconds that are left for a step: never none, so that one which is late is told as such."""
        limit_s = self._workload.timeout_s
        return None if limit_s is None else max(0.1, limit_s - (time.monotonic() - self._began_s))

    def _problem(self, measurement: Measurement) -> str | None:
        limit_s = self._workload.timeout_s
        if measurement.verdict == "failed":
            is_late = measurement.error is None and limit_s is not None and time.monotonic() - self._began_s >= limit_s
            return f"the search is not done in workload.timeout_s={limit_s:g}" if is_late else measurement.reason
        absent = [name for name in self._workload.slo_metric_targets if name not in measurement.metrics]
        if measurement.verdict != "ok" or not absent:
            return None
        return f"this load has no {', '.join(absent)}: choose others for workload.slo_metric_targets"

    def _found(self, found: Found) -> Measurement:
        last = self._steps[-1].measurement  # made to see whether the level holds again
        own = {METRICS[self._workload.slo_vary]: found.level, "num_slo_steps": len(self._steps)}
        return self._outcome(metrics={**last.metrics, **own}, remarks=(*last.remarks, self._limit(found)))

    def _limit(self, found: Found) -> str:
        """Return what ended the search upwards."""
        if found.is_highest:
            return f"no target was missed up to workload.slo_max={self._workload.slo_max:g}: the server may take more"
        above = min((step for step in self._steps if step.misses and step.level > found.level), key=lambda s: s.level)
        return f"{self._shown(above)} misses: {'; '.join(above.misses)}"

    def _missed(self) -> Measurement:
        lowest = self._steps[-1]
        reason = f"{self._shown(lowest)}, the lowest level (workload.slo_min), misses: {'; '.join(lowest.misses)}"
        return self._outcome(verdict="invalid", reason=reason)

    def _outcome(self, **fields: Any) -> Measurement:
        """Return the last step with what is different of the search as a whole."""
        whole: dict[str, Any] = {
            "repeat": self._repeat,
            "seed": _first_seed(self._workload, self._repeat),
            "result": self._record,
            "began_at": self._steps[0].measurement.began_at,
            "duration_s": round(time.monotonic() - self._began_s, 3),
        }
        return replace(self._steps[-1].measurement, **whole, **fields)

    def _shown(self, step: Measured) -> str:
        return f"{self._workload.slo_vary}={step.level:g}"


def workload_at(workload: WorkloadConfig, level: float, repeat: int, timeout_s: float | None) -> WorkloadConfig:
    """Return the load of one level, with the latencies that the targets name; its seed is that of the first step."""
    asked = [match for name in workload.slo_metric_targets if (match := LATENCY_METRIC.fullmatch(name))]
    latencies: list[Any] = [*(workload.percentile_metrics or ()), *(match["of"] for match in asked)]
    percentiles = {*(workload.metric_percentiles or ()), *(float(one["percentile"] or 50) for one in asked)}
    needed = max(workload.slo_min_prompts, math.ceil(level * workload.slo_prompts_per_unit))
    return workload.model_copy(
        update={
            "kind": "bench",
            workload.slo_vary: int(level) if workload.slo_vary == "max_concurrency" else level,
            "num_prompts": workload.num_prompts or needed,
            "percentile_metrics": list(dict.fromkeys(latencies)),
            "metric_percentiles": sorted(percentiles),
            "seed": _first_seed(workload, repeat),
            "timeout_s": timeout_s,
        }
    )


def misses(measurement: Measurement, targets: Mapping[str, float]) -> Sequence[str]:
    """Return the targets that were missed, with what was measured; numbers that are not valid keep none."""
    if measurement.verdict != "ok":
        return [f"the measurement is not valid: {measurement.reason}"]
    found = {name: measurement.metrics.get(name, math.inf) for name in targets}
    return [f"{name} is {found[name]:.4g}, above {most:g}" for name, most in targets.items() if found[name] > most]


def _first_seed(workload: WorkloadConfig, repeat: int) -> int:
    return seed_of(workload, repeat * _SEEDS_PER_REPEAT)
