"""A sweep of real servers: a start for each that differs, each point measured on it, one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.engine.conftest import LaunchDemo

LOAD = ["workload.num_prompts=8", "workload.random_input_len=32", "workload.random_output_len=8"]


def test_two_servers_measure_two_points_each(launch_demo: LaunchDemo) -> None:
    grid = ["inference.max_num_seqs=4,8", "workload.max_concurrency=1,4", "workload.repeats=1"]
    sweep = launch_demo("--multirun", *grid, *LOAD, "sweep.name=mine", "preflight=warn")

    code = sweep.exit_code()

    folder = sweep.folder / "outputs" / "sweeps" / "mine"
    runs = [json.loads(file.read_text()) for file in folder.glob("servers/*/*/*/status.json")]
    with (folder / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == "summary"]
    assert code == 0, sweep.stderr
    assert [run["state"] for run in runs] == ["stopped", "stopped"]
    assert [(row["inference.max_num_seqs"], row["workload.max_concurrency"]) for row in rows] == [
        ("4", "1"),
        ("4", "4"),
        ("8", "1"),
        ("8", "4"),
    ]
    assert all(float(row["output_tokens_per_s"]) > 0 and row["verdict"] == "ok" for row in rows)
    assert all(float(row["total_output_tokens"]) == 64 for row in rows)
    assert all(same_numbers(point) for point in (folder / "points").iterdir())
    assert sweep.living() == []


def same_numbers(point: Path) -> bool:
    """Whether the record has the throughput that vLLM's own file beside it has."""
    ours, theirs = (json.loads((point / f"{name}.json").read_text()) for name in ("repeat-1", "bench-0"))
    return bool(ours["metrics"]["output_tokens_per_s"] == theirs["output_throughput"])
