"""One server on several nodes of a real Slurm: it serves, and nothing of it outlives its end on any node."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.fakes.containers import make_image, make_program
from tests.launches import Launch, Run
from tests.slurm.cluster import Cluster
from tests.slurm.test_submit_run import job_of, state

_TWO_NODES = ("submit=slurm", "inference.tensor_parallel_size=2", "inference.nnodes=2", "server.restart=never")


@pytest.fixture
def serve(run: Run, tmp_path: Path) -> Run:
    """Return a function that starts a server on two nodes, and waits until it serves."""

    def start(*overrides: str, **script: object) -> Launch:
        launch = run(*_TWO_NODES, "workload=serve", *overrides, pids_file=str(tmp_path / "pids"), **script)
        launch.wait_ready()
        return launch

    return start


def engines_left(tmp_path: Path) -> list[int]:
    """Return those processes of the fakes that live."""
    lines = (tmp_path / "pids").read_text().splitlines()
    pids = [int(line.rpartition(" ")[2]) for line in lines]
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def pid_of(tmp_path: Path, title: str) -> int:
    lines = (tmp_path / "pids").read_text().splitlines()
    return next(int(pid) for found, _, pid in (line.rpartition(" ") for line in lines) if found == title)


def test_a_server_on_two_nodes_answers(slurm: Cluster, run: Run, tmp_path: Path) -> None:
    launch = run(*_TWO_NODES, "workload=probe", pids_file=str(tmp_path / "pids"))

    assert launch.exit_code() == 0, launch.stderr
    log = (launch.run_folder() / "server.log").read_text()
    assert "'nnodes': 2" in log
    assert "headless multiproc executor" in log
    assert slurm.run("squeue", "-t", "all", "-h", "-o", "%D", "-j", job_of(launch)).split() == ["2"]
    assert engines_left(tmp_path) == []
    assert slurm.left() == []


@pytest.mark.parametrize("title", ["VLLM::Worker_TP1", "VLLM::EngineCore", "APIServer"])
def test_the_death_of_a_part_on_either_node_ends_all(slurm: Cluster, serve: Run, tmp_path: Path, title: str) -> None:
    launch = serve()
    os.kill(pid_of(tmp_path, title), signal.SIGKILL)

    assert launch.exit_code() == 1
    assert ("The engine on" in launch.stderr) == (title == "VLLM::Worker_TP1")
    assert state(launch) == "failed"
    launch.wait_for(lambda: engines_left(tmp_path) == [])


def test_ray_is_started_on_all_nodes_before_vllm(slurm: Cluster, run: Run, tmp_path: Path) -> None:
    ray = "inference.distributed_executor_backend=ray"
    launch = run(*_TWO_NODES, ray, "workload=serve", pids_file=str(tmp_path / "pids"))
    launch.wait_ready()
    log_path = launch.run_folder() / "server.log"

    launch.wait_for(lambda: "Ray runtime started on" in log_path.read_text())
    slurm.run("scancel", job_of(launch))
    assert launch.exit_code() == 1
    log = log_path.read_text()
    assert "'distributed_executor_backend': 'ray'" in log
    assert "nnodes" not in log
    assert slurm.left() == []


def test_a_server_on_two_nodes_has_an_image_on_each(
    slurm: Cluster, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_program(tmp_path / "programs", "apptainer")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    image = make_image(tmp_path / "image", phase_s=0.005, pids_file=str(tmp_path / "pids"))
    launch = run(*_TWO_NODES, "server.python=null", "runtime=apptainer", f"runtime.image={image}", "workload=probe")

    assert launch.exit_code() == 0, launch.stderr
    calls = [json.loads(line) for line in (tmp_path / "programs" / "calls").read_text().splitlines()]
    served = [call for call in calls if "serve" in call["command"]]
    assert sorted("--headless" in call["command"] for call in served) == [False, True]
    assert all("VLLM_HOST_IP" in call["environment"] for call in served)
    assert engines_left(tmp_path) == []
    assert slurm.left() == []


def test_replicas_on_two_nodes_are_one_server(slurm: Cluster, run: Run, tmp_path: Path) -> None:
    launch = run(
        *("submit=slurm", "server.replicas=2", "hydra.launcher.gpus_per_node=1", "server.api_key=generate"),
        *("workload=probe", "server.restart=never"),
        pids_file=str(tmp_path / "pids"),
    )

    assert launch.exit_code() == 0, launch.stderr
    (router,) = (event["url"] for event in launch.events() if event["event"] == "ready")
    assert len({*launch.record("replicas.json")["urls"], router}) == 3
    assert slurm.run("squeue", "-t", "all", "-h", "-o", "%D", "-j", job_of(launch)).split() == ["2"]
    assert [line.rpartition(" ")[0] for line in (tmp_path / "pids").read_text().splitlines()].count("APIServer") == 2
    assert (launch.run_folder() / "server.log").read_text().count("Application shutdown complete") == 2
    assert engines_left(tmp_path) == []


def test_a_part_that_cannot_start_fails_the_server(slurm: Cluster, run: Run, tmp_path: Path) -> None:
    launch = run(*_TWO_NODES, "workload=probe", die_node=1, pids_file=str(tmp_path / "pids"))

    assert launch.exit_code() == 1
    assert "node 1 of the server, ended with exit code 1" in launch.stderr
    assert engines_left(tmp_path) == []
