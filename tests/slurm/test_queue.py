"""What is read from a real Slurm."""

from __future__ import annotations

import pytest

from mixvllm.cluster.limits import read_limits
from mixvllm.cluster.queue import cancel, read_queue
from mixvllm.cluster.slurm import SlurmUnreachable
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import StartCluster


def test_the_elements_of_an_array_are_told_one_by_one(slurm: Cluster) -> None:
    array = slurm.submit("sleep 600", "--array=0-5%2")
    slurm.wait_state(f"{array}_1", "RUNNING")

    jobs = read_queue([array])

    assert {id_: job.state for id_, job in jobs.items()} == {
        **dict.fromkeys((f"{array}_0", f"{array}_1"), "RUNNING"),
        **dict.fromkeys((f"{array}_{index}" for index in range(2, 6)), "PENDING"),
    }
    assert (jobs[f"{array}_2"].reason, jobs[f"{array}_0"].nodes) == ("JobArrayTaskLimit", "n1")
    assert set(read_queue([f"{array}_0", f"{array}_4"])) == {f"{array}_0", f"{array}_4"}


def test_how_a_job_ended_is_told(slurm: Cluster) -> None:
    failed, killed = slurm.submit("exit 3"), slurm.submit("kill -9 $$")
    for job in (failed, killed):
        slurm.wait_state(job, "FAILED")

    jobs = read_queue([failed, killed])

    assert ([jobs[job].state for job in (failed, killed)], jobs[failed].reason) == (["FAILED"] * 2, "NonZeroExitCode")


def test_a_requeued_job_is_pending_again_and_counts_it(slurm: Cluster) -> None:
    job = slurm.submit("sleep 600", "--time=10")
    slurm.wait_state(job, "RUNNING")

    slurm.run("scontrol", "requeuehold", job)
    slurm.wait_state(job, "PENDING")

    assert (read_queue([job])[job].is_pending, read_queue([job])[job].num_restarts) == (True, 1)


def test_what_nobody_knows_is_not_in_the_answer(slurm: Cluster) -> None:
    job = slurm.submit("true")

    assert set(read_queue([job, "4000000", "4000001_2"])) == {job}
    assert read_queue([]) == {}


def test_cancelling_ends_elements_and_passes_over_what_has_ended(slurm: Cluster) -> None:
    array, done = slurm.submit("sleep 600", "--array=0-2"), slurm.submit("true")
    slurm.wait_state(done, "COMPLETED")

    cancel([f"{array}_1", done, "4000000"])
    slurm.wait_state(f"{array}_1", "CANCELLED")

    assert {id_: job.has_ended for id_, job in read_queue([array]).items()} == {
        f"{array}_0": False,
        f"{array}_1": True,
        f"{array}_2": False,
    }


def test_the_limits_are_those_of_the_cluster(start_cluster: StartCluster) -> None:
    start_cluster(num_nodes=1, max_array_size=11)

    limits = read_limits()

    assert (limits.cluster, limits.max_array_size) == ("mini", 11)


def test_a_cluster_that_is_gone_is_an_error_and_no_answer(start_cluster: StartCluster) -> None:
    cluster = start_cluster(num_nodes=1)
    job = cluster.submit("sleep 600")
    cluster.kill_controller()

    with pytest.raises(SlurmUnreachable):
        read_queue([job])
