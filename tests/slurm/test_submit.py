"""A sweep on a real Slurm: what was planned is submitted whole, and its results come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.submitted import SubmitSweep
from tests.sweep.sweeps import command, held

StartCluster = Callable[..., Cluster]


def verdicts(records: list[dict[str, object]]) -> list[object]:
    return sorted(str(record["verdict"]) for record in records)


def test_servers_of_different_sizes_are_submitted_by_one_command(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    grid = ["inference.tensor_parallel_size=1,2", "inference.max_num_seqs=8,16"]
    sweep = submit_sweep(*grid, command("echo $SLURM_ARRAY_JOB_ID"))

    assert sweep.exit_code() == 0, sweep.launch.stderr
    ids = ",".join(array["job_id"] for array in sweep.arrays())
    lines = slurm.run("squeue", "-h", "-r", "-t", "all", "-j", ids, "-o", "%i %b").splitlines()
    asked = dict(line.split() for line in lines)
    assert verdicts(sweep.records()) == ["ok"] * 4
    assert sorted(asked.values()) == ["gres:gpu:1", "gres:gpu:1", "gres:gpu:2", "gres:gpu:2"]
    assert [array["num_elements"] for array in sweep.arrays()] == [2, 2]
    assert "results" in sweep.launch.stdout
    assert slurm.left() == []
    assert list(Path(tempfile.gettempdir()).glob(f"mx{os.getuid()}-*")) == []


def test_a_server_has_the_gpus_that_slurm_gave_and_says_which_job_it_is_in(
    slurm: Cluster, submit_sweep: SubmitSweep
) -> None:
    sweep = submit_sweep("inference.tensor_parallel_size=2")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    (record,), (array,) = sweep.server_records(), sweep.arrays()
    assert record["job"]["job_id"] == f"{array['job_id']}_0"
    assert record["job"]["nonce"] == sweep.job(f"{array['job_id']}_0")["nonce"]


def test_points_that_fail_leave_the_others_alone(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    fails = "workload.command='exit 3','echo \"{\\\"answer\\\": 42}\" > $MIXVLLM_RUN_DIR/metrics.json'"
    sweep = submit_sweep("inference.tensor_parallel_size=1,2", fails)

    assert sweep.exit_code() == 1
    states = slurm.states()
    assert verdicts(sweep.records()) == ["failed", "failed", "ok", "ok"]
    assert sorted(states[job] for job in sweep.wait_submitted(2)) == ["FAILED", "FAILED"]
    assert "sweep.rerun=failed" in sweep.launch.stderr


def test_more_jobs_than_an_array_may_have_are_several_arrays(
    start_cluster: StartCluster, submit_sweep: SubmitSweep
) -> None:
    start_cluster(num_nodes=1, max_array_size=2)
    sweep = submit_sweep("inference.max_num_seqs=8,16,32", "hydra.launcher.array_parallelism=1")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    assert [array["num_elements"] for array in sweep.arrays()] == [2, 1]
    assert ["--array=0-1%1" in script for script in sweep.scripts()] == [True, False]


def test_what_was_submitted_is_what_runs(slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path) -> None:
    """Files that change while jobs wait change nothing: nobody composes again."""
    option = tmp_path / "conf" / "inference" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("defaults: [default, _self_]\nmax_num_seqs: 8\n")
    for node in ("n1", "n2"):
        slurm.drain(node)
    sweep = submit_sweep(
        "--config-dir", str(tmp_path / "conf"), "inference=mine", "hydra.launcher.wait=false", command("true")
    )
    assert sweep.exit_code() == 0, sweep.launch.stderr
    option.write_text("defaults: [default, _self_]\nmax_num_seqs: 16\n")

    for node in ("n1", "n2"):
        slurm.undrain(node)
    (job,) = sweep.wait_submitted()
    slurm.wait_state(job, "COMPLETED")

    (point,) = sweep.folder.points.iterdir()
    (server,) = sweep.folder.servers.glob("*/*/*/command.sh")
    assert json.loads((point / "point.json").read_text())["config"]["inference"]["max_num_seqs"] == 8
    assert "--max-num-seqs 8" in server.read_text()


def test_a_sweep_that_nobody_waits_for_is_followed_later_and_not_submitted_twice(
    slurm: Cluster, submit_sweep: SubmitSweep
) -> None:
    for node in ("n1", "n2"):
        slurm.drain(node)
    first = submit_sweep("inference.max_num_seqs=8,16", "hydra.launcher.wait=false")
    assert first.exit_code() == 0, first.launch.stderr
    (array,) = first.arrays()
    assert first.launch.stdout.split() == [array["job_id"]]

    second = submit_sweep("inference.max_num_seqs=8,16")
    second.launch.wait_for(lambda: "PENDING" in second.launch.stderr)
    for node in ("n1", "n2"):
        slurm.undrain(node)

    assert second.exit_code() == 0, second.launch.stderr
    assert second.arrays() == [array]
    assert verdicts(second.records()) == ["ok", "ok"]


def test_why_jobs_wait_is_shown(slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path) -> None:
    one_by_one, gate = "hydra.launcher.array_parallelism=1", tmp_path / "gate"
    sweep = submit_sweep("inference.max_num_seqs=8,16", one_by_one, command(held(gate)))
    sweep.launch.wait_for(lambda: "1 PENDING (JobArrayTaskLimit)" in sweep.launch.stderr)
    gate.touch()

    assert sweep.exit_code() == 0, sweep.launch.stderr


def test_what_slurm_refuses_is_said_in_its_words(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep = submit_sweep("hydra.launcher.partition=nowhere")

    assert sweep.exit_code() == 1
    assert "invalid partition specified: nowhere" in sweep.launch.stderr
    assert "nothing was submitted" in sweep.launch.stderr


def test_ctrl_c_leaves_the_jobs_alone(slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path) -> None:
    sweep = submit_sweep(command(held(tmp_path / "gate")))
    (job,) = sweep.wait_submitted()
    slurm.wait_state(job, "RUNNING")
    sweep.interrupt()

    assert sweep.exit_code() == 130
    assert "leaving the jobs alone" in sweep.launch.stderr
    assert "mixvllm resume" in sweep.launch.stderr
    (tmp_path / "gate").touch()
    assert slurm.wait_state(job, "COMPLETED", "CANCELLED", "FAILED") == "COMPLETED"


def test_ctrl_c_while_jobs_are_submitted_loses_none(
    slurm: Cluster, slow_sbatch: Path, submit_sweep: SubmitSweep
) -> None:
    sweep = submit_sweep()
    sweep.launch.wait_for((slow_sbatch / "asked").exists)
    sweep.interrupt()
    (slow_sbatch / "gate").touch()

    assert sweep.exit_code() == 130
    assert "leaving the jobs alone" in sweep.launch.stderr
    (job,) = sweep.wait_submitted()
    assert slurm.wait_state(job, "COMPLETED", "CANCELLED", "FAILED") == "COMPLETED"


def test_ctrl_c_twice_cancels_the_jobs(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep = submit_sweep(command("sleep 60"))
    (job,) = sweep.wait_submitted()
    sweep.wait_began()
    sweep.interrupt()
    sweep.launch.wait_for(lambda: "leaving the jobs alone" in sweep.launch.stderr)
    sweep.interrupt()

    assert sweep.exit_code() == 130
    assert slurm.states()[job] == "CANCELLED"
    assert sweep.job(job)["state"] == "cancelled"
    assert slurm.left() == []
    assert sweep.records() == []


def test_the_first_failure_cancels_the_rest_where_that_is_asked_for(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    grid = ["inference.max_num_seqs=8,16,32", "hydra.launcher.array_parallelism=1"]
    sweep = submit_sweep(*grid, "sweep.fail_fast=true", "workload.command='exit 3'")

    assert sweep.exit_code() == 1
    assert len(sweep.records()) < 3
    (array,) = sweep.arrays()
    # Elements that never ran are one job, by the bare number of the array.
    states = [state for job, state in slurm.states().items() if job.partition("_")[0] == array["job_id"]]
    assert "CANCELLED" in states


def test_a_dry_run_shows_the_scripts_and_what_slurm_says_to_them(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    before = slurm.states()
    sweep = submit_sweep("inference.tensor_parallel_size=1,2", "dry_run=true")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    assert sweep.launch.stdout.count("#SBATCH --gpus-per-node=") == 2
    assert sweep.launch.stdout.count("to start at") == 2
    assert slurm.states() == before
    assert not (sweep.launch.folder.parent / "outputs").exists()


def test_a_dry_run_shows_why_slurm_would_refuse(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep = submit_sweep("inference.tensor_parallel_size=64", "dry_run=true")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    assert "Requested node configuration is not available" in sweep.launch.stdout


def test_a_slurm_that_does_not_answer_is_waited_for(
    start_cluster: StartCluster, submit_sweep: SubmitSweep, tmp_path: Path
) -> None:
    """Jobs go on without it, and what they tell is in files."""
    cluster = start_cluster(num_nodes=1)
    sweep = submit_sweep(command(held(tmp_path / "gate")))
    sweep.wait_began()
    cluster.kill_controller()
    sweep.launch.wait_for(lambda: "trying again until it answers" in sweep.launch.stderr)
    (tmp_path / "gate").touch()
    sweep.wait_records(1)
    sweep.interrupt()

    assert sweep.exit_code() == 130
    assert verdicts(sweep.records()) == ["ok"]


def test_a_sweep_is_resumed_by_its_folder(slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path) -> None:
    load = command(held(tmp_path / "gate"))
    sweep = submit_sweep("inference.max_num_seqs=8,16", "hydra.launcher.max_requeues=0", load)
    jobs = sweep.wait_submitted()
    sweep.wait_began()
    slurm.run("scancel", *jobs)
    assert sweep.exit_code() == 1
    (tmp_path / "gate").touch()

    again = [sys.executable, "-m", "mixvllm.cli.app", "resume", str(sweep.folder.path)]
    done = subprocess.run(again, cwd=sweep.launch.folder, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert verdicts(sweep.records()) == ["ok", "ok"]
    assert len(sweep.arrays()) == 2
