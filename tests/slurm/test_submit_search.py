"""A search on a real Slurm: trials are jobs, submitted a batch at a time, waited for and told."""

from __future__ import annotations

import json
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.submitted import SubmitSweep, SubmittedSweep
from tests.sweep.sweeps import command, held

GRID = "inference.max_num_seqs=8,16,32,64"
SEARCH = ["sweep.search=optuna", "sweep.objective={answer: maximize}", "sweep.num_trials=4"]


def points(sweep: SubmittedSweep) -> list[int]:
    """Return the swept values of the points that were measured."""
    files = [file.parent / "point.json" for file in sweep.folder.path.glob("points/*/repeat-1.json")]
    return sorted(json.loads(file.read_text())["config"]["inference"]["max_num_seqs"] for file in files)


def test_trials_are_submitted_in_batches_and_the_best_is_shown(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep = submit_sweep(*SEARCH, GRID, "hydra.launcher.array_parallelism=2")

    assert sweep.exit_code() == 0, sweep.launch.stderr + sweep.logs()
    assert [array["num_elements"] for array in sweep.arrays()] == [2, 2]
    assert points(sweep) == [8, 16, 32, 64]
    assert "4 trials of 4 points: 4 measured" in sweep.launch.stdout
    assert slurm.left() == []


def test_a_search_goes_on_with_the_jobs_that_it_left(slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path) -> None:
    search = [*SEARCH, GRID, "hydra.launcher.array_parallelism=2", command(held(tmp_path / "gate"))]
    first = submit_sweep(*search)
    jobs = first.wait_submitted()
    slurm.wait_state(jobs[0], "RUNNING")
    first.interrupt()
    assert first.exit_code() == 130, first.launch.stderr
    assert "mixvllm resume" in first.launch.stderr
    (tmp_path / "gate").touch()

    again = submit_sweep(*search)

    assert again.exit_code() == 0, again.launch.stderr + again.logs()
    assert [array["num_elements"] for array in again.arrays()] == [2, 2]
    assert points(again) == [8, 16, 32, 64]


def test_trials_whose_jobs_were_cancelled_are_measured_later(
    slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path
) -> None:
    search = [*SEARCH, "inference.max_num_seqs=8,16", command(held(tmp_path / "gate"))]
    first = submit_sweep(*search)
    jobs = first.wait_submitted()
    slurm.wait_state(jobs[0], "RUNNING")
    slurm.run("scancel", *jobs)
    assert first.exit_code() == 1, first.launch.stderr
    (tmp_path / "gate").touch()

    again = submit_sweep(*search)

    assert again.exit_code() == 0, again.launch.stderr
    assert points(again) == [8, 16]


def test_a_search_that_nobody_waits_for_is_refused(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    before = slurm.states()
    sweep = submit_sweep(*SEARCH, GRID, "hydra.launcher.wait=false")

    assert sweep.exit_code() == 2
    assert "hydra.launcher.wait" in sweep.launch.stderr
    assert slurm.states() == before
