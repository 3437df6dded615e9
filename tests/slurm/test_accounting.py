"""Jobs that the queue has forgotten, where there is accounting."""

from __future__ import annotations

import pytest

from mixvllm.cluster.queue import read_queue
from tests.needs import need
from tests.slurm.accounting import PACKAGES
from tests.slurm.cluster import Cluster, missing_packages
from tests.slurm.conftest import StartCluster
from tests.written_runs import wait_for

KEPT_S = 2
"""For so long squeue knows a job that has ended; Slurm looks for older ones every half a minute."""


@pytest.fixture
def cluster(start_cluster: StartCluster) -> Cluster:
    need(missing_packages(PACKAGES), "accounting")
    return start_cluster(num_nodes=1, has_accounting=True, kept_s=KEPT_S)


def test_what_the_queue_has_forgotten_is_told_by_accounting(cluster: Cluster) -> None:
    array = cluster.submit("exit $SLURM_ARRAY_TASK_ID", "--array=0-2")
    cancelled = cluster.submit("sleep 600", "--hold")
    killed = cluster.submit("kill -9 $$")
    cluster.run("scancel", cancelled)
    wait_for(lambda: not cluster.states(), timeout_s=120)

    jobs = read_queue([f"{array}_0", f"{array}_1", cancelled, killed, "4000000"])

    assert {id_: job.state for id_, job in jobs.items()} == {
        f"{array}_0": "COMPLETED",
        f"{array}_1": "FAILED",
        cancelled: "CANCELLED",
        killed: "FAILED",
    }
    assert (jobs[killed].cluster, jobs[killed].nodes) == ("mini", "n1")
