"""Servers in a container of pyxis, by a real srun: asked inside the job, drained by a stop, and gone with their job.

The plugin is a program before srun, which reads its options, looks at image and mounts, and passes the rest on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.fakes.containers import make_image, make_program
from tests.launches import Launch, Run
from tests.slurm.cluster import Cluster
from tests.slurm.test_nodes import engines_left
from tests.slurm.test_submit_run import job_of, state


@pytest.fixture
def pyxis(slurm: Cluster, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that launches the fake vLLM in an image, in a job."""
    real = shutil.which("srun")
    assert real is not None
    make_program(tmp_path / "programs", "srun")
    monkeypatch.setenv("PYXIS_REAL_SRUN", real)
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")

    def start(*overrides: str, **script: object) -> Launch:
        image = make_image(tmp_path / "image", phase_s=0.005, pids_file=str(tmp_path / "pids"), **script)
        of_runtime = ["server.python=null", "runtime=pyxis", f"runtime.image={image}"]
        return run("submit=slurm", *of_runtime, *overrides)

    return start


def engine_of(tmp_path: Path) -> int:
    lines = (tmp_path / "pids").read_text().splitlines()
    return int(lines[0].rpartition(" ")[2])


def test_a_run_is_done_in_a_container(slurm: Cluster, pyxis: Run, tmp_path: Path) -> None:
    launch = pyxis("workload=probe")

    assert launch.exit_code() == 0, launch.stderr
    assert "here it is taken for 0.32.0" in launch.stderr
    calls = [json.loads(line) for line in (tmp_path / "programs" / "calls").read_text().splitlines()]
    asked, served = calls[0], next(call for call in calls if "serve" in call["command"])
    assert asked["command"][:2] == ["python3", "-c"]
    assert served["environment"]["VLLM_HOST_IP"] == "127.0.0.1"
    assert engines_left(tmp_path) == []
    assert slurm.left() == []


def test_a_server_on_two_nodes_has_a_container_on_each(slurm: Cluster, pyxis: Run, tmp_path: Path) -> None:
    sizes = ["inference.tensor_parallel_size=2", "inference.nnodes=2", "runtime.version=0.32.0"]
    launch = pyxis("workload=probe", "server.restart=never", *sizes)

    assert launch.exit_code() == 0, launch.stderr
    calls = [json.loads(line) for line in (tmp_path / "programs" / "calls").read_text().splitlines()]
    assert sorted("--headless" in call["command"] for call in calls if "serve" in call["command"]) == [False, True]
    assert engines_left(tmp_path) == []
    assert slurm.left() == []


def test_requests_in_flight_finish_before_the_job_is_left(slurm: Cluster, pyxis: Run, tmp_path: Path) -> None:
    launch = pyxis("workload=serve", "server.drain_timeout_s=15", token_delay_s=0.1)
    url = launch.wait_ready()
    body = {"model": "some/model", "prompt": "x", "max_tokens": 20}
    with ThreadPoolExecutor() as pool, httpx.Client(trust_env=False) as client:
        answer = pool.submit(client.post, f"{url}/v1/completions", json=body, timeout=30)
        launch.wait_for(
            lambda: "num_requests_running{" in (text := client.get(f"{url}/metrics").text) and is_busy(text)
        )
        slurm.run("scancel", "--signal=USR2", job_of(launch))
        num_tokens = answer.result().json()["usage"]["completion_tokens"]

    launch.wait_for(lambda: state(launch) == "stopped")
    assert num_tokens == 20


def is_busy(metrics: str) -> bool:
    line = next(line for line in metrics.splitlines() if line.startswith("vllm:num_requests_running{"))
    return float(line.rpartition(" ")[2]) > 0


def test_nothing_is_left_in_the_container_of_a_cancelled_job(slurm: Cluster, pyxis: Run, tmp_path: Path) -> None:
    launch = pyxis("workload=serve", num_workers=2)
    launch.wait_ready()

    slurm.run("scancel", job_of(launch))

    assert launch.exit_code() == 1
    launch.wait_for(lambda: engines_left(tmp_path) == [])
    assert slurm.left() == []


def test_an_engine_whose_launcher_and_guardian_were_killed_ends(slurm: Cluster, pyxis: Run, tmp_path: Path) -> None:
    launch = pyxis("workload=serve", "server.restart=never")
    launch.wait_ready()
    status = launch.record("status.json")

    for role in ("supervisor", "guardian", "leader"):
        with suppress(ProcessLookupError):  # each may take the next along
            os.kill(status[role]["pid"], signal.SIGKILL)

    launch.wait_for(lambda: engines_left(tmp_path) == [])


def test_the_death_of_the_engine_is_that_of_the_server(slurm: Cluster, pyxis: Run, tmp_path: Path) -> None:
    launch = pyxis("workload=serve", "server.restart=never")
    launch.wait_ready()

    os.kill(engine_of(tmp_path), signal.SIGKILL)

    assert launch.exit_code() == 1
    assert state(launch) == "failed"
    launch.wait_for(lambda: engines_left(tmp_path) == [])
