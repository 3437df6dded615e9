"""The cluster that the other tests of this folder use."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import StartCluster
from tests.written_runs import pids_in, wait_for

DAEMONISE = "setsid sh -c 'trap \"\" TERM; echo $$ >> pids; sleep 600' & sleep 600"
"""A job of which a process leaves the session, and does not heed SIGTERM."""


def test_a_job_gets_gpus_and_runs_on_a_node(slurm: Cluster) -> None:
    job = slurm.submit("echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES > seen", "--gres=gpu:2", "--nodelist=n2")
    slurm.wait_state(job, "COMPLETED")

    assert Path("seen").read_text() == "n2 0,1\n"


def test_gpus_may_have_a_type(start_cluster: StartCluster) -> None:
    cluster = start_cluster(num_nodes=1, num_gpus=4, gpu_type="a100")

    job = cluster.submit("true", "--gres=gpu:a100:4")

    assert cluster.wait_state(job, "COMPLETED")


def test_a_cluster_that_is_stopped_leaves_neither_process_nor_file(start_cluster: StartCluster) -> None:
    cluster = start_cluster(num_nodes=1, num_gpus=0)
    cluster.submit(DAEMONISE)
    (pid,) = pids_in(Path("pids"), 1)

    cluster.stop()

    assert (Path(f"/proc/{pid}").exists(), cluster.folder.exists()) == (False, False)


def test_a_cluster_whose_owner_is_killed_leaves_no_process(slurm_packages: None) -> None:
    script = f"sbatch --output=/dev/null --wrap={shlex.quote(DAEMONISE)} && cat"
    argv = [sys.executable, "-m", "tests.slurm.cluster", "--", "sh", "-c", script]
    with subprocess.Popen(argv, env=_environment(), stdin=subprocess.PIPE) as owner:
        (pid,) = pids_in(Path("pids"), 1)

        owner.kill()

    wait_for(lambda: not Path(f"/proc/{pid}").exists())


def test_the_command_has_the_exit_code_of_what_it_runs(slurm_packages: None) -> None:
    argv = [sys.executable, "-m", "tests.slurm.cluster", "--nodes", "1", "--", "sh", "-c", "scontrol ping && exit 3"]

    done = subprocess.run(argv, env=_environment(), capture_output=True, text=True)

    assert (done.returncode, " is UP" in done.stdout) == (3, True), done.stderr


def test_a_job_of_a_node_that_is_killed_begins_anew_on_another(slurm: Cluster) -> None:
    job = slurm.submit("echo $SLURMD_NODENAME >> nodes; sleep 600", "--nodelist=n1", "--requeue")
    wait_for(lambda: Path("nodes").exists() and Path("nodes").read_text())

    slurm.kill_node("n1")
    slurm.run("scontrol", "update", f"JobId={job}", "ReqNodeList=")
    wait_for(lambda: Path("nodes").read_text() == "n1\nn2\n", timeout_s=60)


def test_a_drained_node_takes_no_job(slurm: Cluster) -> None:
    slurm.drain("n1")

    job = slurm.submit("true", "--nodelist=n1")
    assert (slurm.node_state("n1"), slurm.states()[job]) == ("drained", "PENDING")

    slurm.undrain("n1")
    assert slurm.wait_state(job, "COMPLETED")


def test_a_job_of_higher_priority_has_another_one_requeued(slurm: Cluster) -> None:
    low = slurm.submit("echo began >> began; exec sleep 600", "--nodelist=n1")
    wait_for(lambda: Path("began").exists())

    high = slurm.preempt("n1")

    assert slurm.wait_state(high, "COMPLETED")
    assert slurm.wait_state(low, "PENDING", "RUNNING")


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
