"""One result of `vllm bench serve`: what was asked for, under our names, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.report.imported_files import Record
from mixvllm.report.places import PARALLEL_SIZES
from mixvllm.report.study import Repeat
from mixvllm.workload.bench.metrics import bench_metrics

_ASKED = {
    "backend": "workload.backend",
    "model_id": "model.name",
    "tokenizer_id": "model.tokenizer",
    "num_prompts": "workload.num_prompts",
    "request_rate": "workload.request_rate",
    "burstiness": "workload.burstiness",
    "max_concurrency": "workload.max_concurrency",
    "ramp_up_strategy": "workload.ramp_up_strategy",
    "ramp_up_start_rps": "workload.ramp_up_start_rps",
    "ramp_up_end_rps": "workload.ramp_up_end_rps",
    "label": "metadata.label",
}
"""What a result repeats of the options, and our names of it."""
_OF_RESULT = frozenset(
    [
        *("date", "endpoint_type", "run_number", "duration", "completed", "failed", "rtfx", "rps_change_events"),
        *("total_input_tokens", "total_output_tokens", "total_input_sequences", "input_sequence_throughput"),
        *("request_throughput", "request_goodput", "output_throughput", "total_token_throughput"),
        *("max_output_tokens_per_s", "max_concurrent_requests", "_benchmark_name", "generated_texts"),
    ]
)
_OF_RESULT_BEGINS = ("probe_", "spec_decode_", "diffusion_", "steady_state_")
_DATE = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class Asked:
    """What was asked for, as far as the result tells.

    Args:
        flat: by dotted key.
    """

    flat: Mapping[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The same by section."""
        sections: dict[str, dict[str, Any]] = {}
        for key, value in self.flat.items():
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
        return sections

    @property
    def num_gpus(self) -> int | None:
        """GPUs of the server; None unless all parallel sizes are told, since the rest of its command is not known."""
        sizes = [self.flat.get(f"inference.{name}") for name in PARALLEL_SIZES]
        product = 1
        for size in sizes:
            if not isinstance(size, int) or isinstance(size, bool):
                return None
            product *= size
        return product


def asked_of(
    result: Mapping[str, Any], overrides: tuple[Mapping[str, Any], Mapping[str, Any]], *, is_sweep: bool
) -> Asked:
    """Return what was asked for.

    Args:
        result: as it was written; may be empty.
        overrides: of the server and of the load, where they are told beside the result.
        is_sweep: whether other keys than a result's are what the sweep set; else they are metadata.
    """
    flat: dict[str, Any] = {}
    for name, value in result.items():
        key = _ASKED.get(name) or _key_of_extra(name, value, is_sweep=is_sweep)
        if key is not None and value is not None:
            flat[key] = value
    serve, bench = overrides
    flat |= {f"inference.{_name(name)}": value for name, value in serve.items() if name != "_benchmark_name"}
    flat |= {f"workload.{_name(name)}": value for name, value in bench.items() if name != "_benchmark_name"}
    return Asked(flat)


def repeat_of_result(record: Record, asked: Asked, number: int) -> Repeat:
    """Return the measurement of `record`; one whose requests did not all get an answer is invalid.

    Args:
        asked: of its point; what it names is no metric.
        number: counted from 1.
    """
    if not record.result:
        return Repeat(number, "failed", record.error)
    result = record.result
    reason = _unanswered(result)
    reasons = [text for text in (record.error, reason) if text]
    names = {key.partition(".")[2] for key in asked.flat}
    metrics = {
        name: float(value)
        for name, value in bench_metrics({key: value for key, value in result.items() if key != "run_number"}).items()
        if name not in names
    }
    verdict = "failed" if record.error else "invalid" if reason else "ok"
    return Repeat(
        number=number,
        verdict=verdict,
        reason="; ".join(reasons) or None,
        metrics=metrics if verdict == "ok" else {},
        duration_s=metrics.get("duration_s"),
        began_at=_began_at(result.get("date")),
    )


def _unanswered(result: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the answers, or None. Results of pooling models do not count what failed."""
    completed, asked = result.get("completed"), result.get("num_prompts")
    failed = result.get("failed")
    if not isinstance(completed, int) or completed <= 0:
        return f"0 of {asked} requests were answered"
    if isinstance(failed, int) and failed > 0:
        return f"{completed} of {completed + failed} requests were answered, {failed} failed"
    if failed is None and isinstance(asked, int) and completed < asked:
        return f"{completed} of {asked} requests were answered"
    return None


def _key_of_extra(name: str, value: Any, *, is_sweep: bool) -> str | None:
    """Return our name of what is in a result and no part of it; None where it is one."""
    if name in _OF_RESULT or name.startswith(_OF_RESULT_BEGINS) or _is_latency(name):
        return None
    if isinstance(value, list) or (isinstance(value, dict) and not is_sweep):  # of each request
        return None
    if not is_sweep:
        return f"metadata.{name}"
    plain = _name(name)
    return f"workload.{plain}" if plain in _workload_names() else f"inference.{plain}"


def _is_latency(name: str) -> bool:
    return name.endswith("_ms") or name in ("latencies", "queue_times", "input_lens", "output_lens", "ttfts", "itls")


def _name(name: str) -> str:
    """Return a key of a parameter file as vLLM's argument has it."""
    first, dot, rest = name.partition(".")
    return f"{first.removeprefix('--').replace('-', '_')}{dot}{rest}"


@cache
def _workload_names() -> frozenset[str]:
    return frozenset(WorkloadConfig.model_fields)


def _began_at(date: Any) -> str | None:
    """Return when the result was written, which is the end; its clock has no zone."""
    try:
        return datetime.strptime(str(date), _DATE).isoformat()
    except ValueError:
        return None
