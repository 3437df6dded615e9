"""Real vLLM over two nodes of a real Slurm: it answers, and the death of either part is seen, recorded and cleared."""

from __future__ import annotations

import os
import signal

import psutil

from tests.engine.conftest import LaunchDemo
from tests.launches import Launch
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import shared_cluster, slurm, slurm_packages

__all__ = ["shared_cluster", "slurm", "slurm_packages"]

_TENSOR_PARALLEL = (
    "submit=slurm",
    "inference.nnodes=2",
    "inference.tensor_parallel_size=2",
    "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null",
)


def of_title(slurm: Cluster, title: str) -> list[psutil.Process]:
    """Return the processes of vLLM in jobs of `slurm` that have `title` as their command line."""
    return [process for process in slurm.processes() if _title(process) == title]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.NoSuchProcess:
        return ""


def kill(slurm: Cluster, title: str) -> None:
    """Kill the one process of the server that has `title`."""
    (process,) = of_title(slurm, title)
    os.kill(process.pid, signal.SIGKILL)


def events(launch: Launch) -> list[str]:
    return [event["event"] for event in launch.events()]


def test_tensor_parallel_over_two_nodes_and_the_death_of_each(slurm: Cluster, launch_demo: LaunchDemo) -> None:
    policy = ("server.restart_backoff_s=0", "server.restart_max_attempts=2")
    launch = launch_demo(*_TENSOR_PARALLEL, *policy, "workload=serve")
    launch.wait_ready()
    (first,) = of_title(slurm, "VLLM::Worker_TP0")
    kill(slurm, "VLLM::Worker_TP1")  # on the second node, where nobody answers HTTP

    launch.wait_for(lambda: events(launch).count("ready") == 2 or launch.process.poll() is not None)
    assert events(launch).count("restarting") == 1, launch.stderr
    assert not first.is_running()
    kill(slurm, "VLLM::EngineCore")  # on the first

    assert launch.exit_code() == 1
    assert launch.record("status.json")["state"] == "failed"
    launch.wait_for(lambda: slurm.left() == [])


def test_replicas_behind_the_router_are_one_server(launch_demo: LaunchDemo) -> None:
    launch = launch_demo("server.replicas=2", "server.router_policy=round_robin", "workload=probe")

    assert launch.exit_code() == 0, launch.stderr
    assert "answer  " in launch.stdout
    assert "nothing is left running" in launch.stderr
    assert (launch.run_folder() / "server.log").read_text().count("Application shutdown complete") == 2
    assert launch.living() == []


def test_data_parallel_over_two_nodes(slurm: Cluster, launch_demo: LaunchDemo) -> None:
    launch = launch_demo(
        "submit=slurm",
        "inference.nnodes=2",
        "inference.data_parallel_size=2",
        "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null",
        "workload=probe",
    )

    assert launch.exit_code() == 0, launch.stderr
    assert "answer  " in launch.stdout
    assert "EngineCore_DP1" in (launch.run_folder() / "server.log").read_text()
    launch.wait_for(lambda: slurm.left() == [])
