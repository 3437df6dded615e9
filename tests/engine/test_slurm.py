"""A sweep of the real vLLM on a real Slurm: a start for each server, results back, one table."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.engine.conftest import LaunchDemo
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import shared_cluster, slurm, slurm_packages

__all__ = ["shared_cluster", "slurm", "slurm_packages"]

LOAD = ["workload.num_prompts=6", "workload.random_input_len=32", "workload.random_output_len=8"]
JOB = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2", "hydra.launcher.array_parallelism=1"]


def test_six_points_on_two_servers_are_measured_in_two_jobs(slurm: Cluster, launch_demo: LaunchDemo) -> None:
    grid = ["inference.max_num_seqs=4,8", "workload.max_concurrency=1,2,4", "workload.repeats=1"]
    sweep = launch_demo("--multirun", "hydra/launcher=slurm", *JOB, *grid, *LOAD, "sweep.name=mine", "preflight=warn")

    code = sweep.exit_code()

    folder = sweep.folder / "outputs" / "sweeps" / "mine"
    with (folder / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["row"] == "summary"]
    assert code == 0, sweep.stderr + _printed(folder)
    assert len(list(folder.glob("servers/*/*/*/status.json"))) == 2
    assert [(row["inference.max_num_seqs"], row["workload.max_concurrency"]) for row in rows] == [
        (seqs, concurrency) for seqs in ("4", "8") for concurrency in ("1", "2", "4")
    ]
    assert all(float(row["output_tokens_per_s"]) > 0 and row["verdict"] == "ok" for row in rows)
    assert "output_tokens_per_s" in sweep.stdout
    assert slurm.left() == []


def _printed(folder: Path) -> str:
    return "\n".join(file.read_text() for file in folder.glob("slurm/*/*.out"))
