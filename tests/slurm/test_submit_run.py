"""One run in a job of a real Slurm: frozen, submitted, shown, and gone when its job is."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.launches import Launch, Run
from tests.slurm.cluster import Cluster


def job_of(launch: Launch) -> str:
    """Wait until the run is submitted; return its job."""
    launch.wait_for(lambda: (launch.run_folder() / "jobs.json").exists() or launch.process.poll() is not None)
    assert (launch.run_folder() / "jobs.json").exists(), launch.stderr
    (array,) = launch.record("jobs.json")["arrays"]
    return f"{array['job_id']}_0"


def state(launch: Launch) -> str | None:
    try:
        found: str = launch.record("status.json")["state"]
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found


def test_a_run_is_done_in_a_job_and_its_answer_shown(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=probe", "hydra.launcher.comment=hello")

    assert launch.exit_code() == 0, launch.stderr
    assert "answer  " in launch.stdout
    assert launch.record("result.json")["status"] == "ok"
    assert launch.record("status.json")["job"]["job_id"] == job_of(launch)
    assert slurm.states()[job_of(launch)] == "COMPLETED"


def test_a_server_serves_in_a_job_until_that_is_cancelled(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=serve")
    launch.wait_ready()
    slurm.run("scancel", job_of(launch))

    assert launch.exit_code() == 1
    assert "the job ended: cancelled" in launch.stderr
    assert state(launch) == "stopped"
    assert slurm.left() == []


def test_a_server_whose_time_is_up_serves_in_its_next_job(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=serve")
    launch.wait_ready()
    first = launch.record("status.json")["job"]

    slurm.run("scancel", "--signal=USR2", job_of(launch))
    launch.wait_for(lambda: [event["event"] for event in launch.events()].count("ready") == 2)

    names, second = [event["event"] for event in launch.events()], launch.record("status.json")["job"]
    assert [name for name in names if name in ("ready", "stopped")] == ["ready", "stopped", "ready"]
    assert (first["restart_count"], second["restart_count"]) == (0, 1)
    assert first["job_id"] == second["job_id"]
    assert first["nonce"] != second["nonce"]


def test_ctrl_c_while_a_run_is_submitted_loses_no_job(slurm: Cluster, slow_sbatch: Path, run: Run) -> None:
    launch = run("submit=slurm", "workload=probe")
    launch.wait_for((slow_sbatch / "asked").exists)
    launch.process.send_signal(signal.SIGINT)
    (slow_sbatch / "gate").touch()

    assert launch.exit_code() == 130
    assert "leaving the jobs alone" in launch.stderr
    assert slurm.wait_state(job_of(launch), "COMPLETED", "CANCELLED", "FAILED") == "COMPLETED"


def test_nobody_need_wait_for_a_run(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=probe", "hydra.launcher.wait=false")

    assert launch.exit_code() == 0, launch.stderr
    assert job_of(launch) == f"{launch.stdout.strip()}_0"
    assert slurm.wait_state(job_of(launch), "COMPLETED", "FAILED") == "COMPLETED"


def test_a_run_that_fails_says_why(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=probe", "server.restart=never", die_in="weights")

    assert launch.exit_code() == 1
    assert "the server ended by itself during start-up" in launch.stderr
    assert slurm.states()[job_of(launch)] == "FAILED"


def test_a_job_with_too_few_gpus_says_so(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=probe", "inference.tensor_parallel_size=2", "hydra.launcher.gpus_per_node=0")

    assert launch.exit_code() == 1
    assert "the job has 0 GPUs, and its server takes 2" in launch.stderr
    assert state(launch) == "failed"


def test_a_dry_run_shows_the_script(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "dry_run=true", "inference.tensor_parallel_size=2")

    assert launch.exit_code() == 0, launch.stderr
    assert "#SBATCH --gpus-per-node=2" in launch.stdout
    assert "to start at" in launch.stdout
    assert not (launch.folder / "outputs").exists()


def test_wrong_options_are_refused_before_anything_is_submitted(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "hydra.launcher.partitions=main")

    assert launch.exit_code() == 2
    assert "did you mean hydra.launcher.partition?" in launch.stderr


def test_a_sweep_is_submitted_by_its_launcher(run: Run) -> None:
    launch = run("--multirun", "submit=slurm", "workload=probe")

    assert launch.exit_code() == 2
    assert "hydra/launcher=slurm" in launch.stderr


def test_a_launcher_of_sweeps_is_refused_for_one_run(run: Run) -> None:
    launch = run("hydra/launcher=slurm", "workload=probe")

    assert launch.exit_code() == 2
    assert "submit=slurm" in launch.stderr


def test_a_run_can_be_submitted_from_within_a_job(slurm: Cluster, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the outer job has is not the new one's."""
    for name, value in {"SLURM_NTASKS": "7", "SLURM_CPU_BIND": "map_cpu:0", "SLURM_MEM_PER_NODE": "1"}.items():
        monkeypatch.setenv(name, value)
    launch = run("submit=slurm", "workload=probe")

    assert launch.exit_code() == 0, launch.stderr
