"""The workload `guidellm`: the load generator of that name, 0.7 or later.

It takes a file with all that it is to do, so that the server's key is not in its argv; the file is removed afterwards.
Source: docs/getting-started/benchmark.md and src/guidellm/benchmark/schemas of github.com/vllm-project/guidellm.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import WorkloadFailed
from mixvllm.runs.files import write_json
from mixvllm.workload.bench.tokenizer import find_tokenizer
from mixvllm.workload.command import Program, run_program
from mixvllm.workload.measurement import Measurement, is_number, seed_of
from mixvllm.workload.task import RepeatTask
from mixvllm.workload.tools import Tool, find_tool

TOOL = Tool("guidellm", "guidellm", "guidellm[recommended]>=0.7")

_DISTRIBUTIONS = {
    "requests_per_second": "requests_per_s",
    "request_concurrency": "request_concurrency_mean",
    "output_tokens_per_second": "output_tokens_per_s",
    "prompt_tokens_per_second": "prompt_tokens_per_s",
    "tokens_per_second": "total_tokens_per_s",
    "prompt_token_count": "prompt_tokens",
    "output_token_count": "output_tokens",
}
"""Distributions of which the mean is what counts, and what it is called here."""
_LATENCIES = {
    "time_to_first_token_ms": "ttft_ms",
    "time_per_output_token_ms": "tpot_ms",
    "inter_token_latency_ms": "itl_ms",
    "request_latency": "e2el_s",
}
_PERCENTILES = ("p50", "p90", "p95", "p99")


def run_guidellm(task: RepeatTask) -> Measurement:
    """Return one repeat, measured by guidellm; its report is `guidellm-<repeat>.json`.

    Raises:
        Interrupted: a stop was asked for.
    """
    config, server, name = task.config, task.server, f"guidellm-{task.repeat}"
    report, todo = task.folder / f"{name}.json", task.folder / f"{name}.task.json"
    report.unlink(missing_ok=True)
    try:
        start = find_tool(TOOL, config.workload.python, task.generator.environment)
        spec = guidellm_spec(
            config,
            url=server.url,
            key=server.address.key.value if server.address.key else None,
            tokenizer=find_tokenizer(config.model, task.generator.environment),
            repeat=task.repeat,
            report=report,
        )
        write_json(todo, {"spec": spec})
        program = Program(
            name=name,
            argv=[*start, "run", "--config", str(todo), "--disable-console-interactive"],
            environment={},
            read=lambda: read_report(report),
        )
        return run_program(program, task)
    except WorkloadFailed as error:
        return task.begin().failed(str(error))
    finally:
        todo.unlink(missing_ok=True)


def guidellm_spec(
    config: ExperimentConfig, *, url: str, key: str | None, tokenizer: str, repeat: int, report: Path
) -> dict[str, Any]:
    """Return all that guidellm is to do in one repeat. Pure; holds the key."""
    sampling = config.generation.server_defaults()
    return {
        **config.workload.guidellm,
        "backend": {
            "kind": "openai_http",
            "target": url,
            "model": config.model.served_names[0],
            **({"api_key": key} if key else {}),
            **({"verify": False} if url.startswith("https") else {}),
            **({"extras": {"body": sampling}} if sampling else {}),
        },
        "tokenizer": {"kind": "huggingface_auto", "model": tokenizer},
        "seed": {"kind": "static", "value": seed_of(config.workload, repeat)},
        "outputs": [{"kind": "json", "path": str(report)}],
    }


def read_report(path: Path) -> tuple[dict[str, float], list[str]]:
    """Return the metrics in a report of guidellm, and what speaks against them.

    A profile that has several loads gives several benchmarks: their names then begin with `load<n>_`.

    Raises:
        WorkloadFailed: there is no report, or no benchmark in it.
    """
    try:
        benchmarks = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
        found = [(benchmark_metrics(benchmark["metrics"]), benchmark["metrics"]) for benchmark in benchmarks]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WorkloadFailed(f"guidellm left no report that can be read: {path}: {error!r}") from error
    if not found:
        raise WorkloadFailed(f"guidellm measured nothing: {path}")
    metrics: dict[str, float] = {}
    for number, (own, _) in enumerate(found):
        prefix = f"load{number}_" if len(found) > 1 else ""
        metrics |= {f"{prefix}{name}": value for name, value in own.items()}
    return metrics, [reason for _, raw in found for reason in _unanswered(raw)]


def benchmark_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of one benchmark, of the requests that were answered, by name with unit."""
    totals = metrics["request_totals"]
    found: dict[str, Any] = {"num_completed": totals["successful"], "num_failed": totals["errored"]}
    for name, ours in _DISTRIBUTIONS.items():
        found[ours] = _answered(metrics, name).get("mean")
    for name, ours in _LATENCIES.items():
        distribution = _answered(metrics, name)
        found[f"mean_{ours}"] = distribution.get("mean")
        percentiles = distribution.get("percentiles") or {}
        found |= {f"{which}_{ours}": percentiles.get(which) for which in _PERCENTILES}
    return {name: float(value) for name, value in found.items() if is_number(value)}


def _answered(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (metrics.get(name) or {}).get("successful") or {}


def _unanswered(metrics: Mapping[str, Any]) -> Iterator[str]:
    totals = metrics["request_totals"]
    if totals["errored"]:
        yield f"{totals['errored']} of {totals['total']} requests failed"
    if not totals["successful"]:
        yield "no request was answered"
