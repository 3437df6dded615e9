"""A server in an image that apptainer runs, in a job."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes.containers import make_image, make_program
from tests.launches import Run
from tests.slurm.cluster import Cluster


def test_a_run_is_done_in_an_image_on_a_node(
    slurm: Cluster, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_program(tmp_path / "programs", "apptainer")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    image = make_image(tmp_path / "image", phase_s=0.005)

    launch = run("submit=slurm", "workload=probe", "server.python=null", "runtime=apptainer", f"runtime.image={image}")

    assert launch.exit_code() == 0, launch.stderr
    calls = [json.loads(line) for line in (tmp_path / "programs" / "calls").read_text().splitlines()]
    served = next(call for call in calls if "serve" in call["command"])
    assert served["environment"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert slurm.left() == []


def test_what_the_login_node_lacks_is_told_before_a_job_is_submitted(slurm: Cluster, run: Run) -> None:
    launch = run("submit=slurm", "workload=probe", "server.python=null", "runtime=apptainer", "runtime.image=/no.sif")

    assert launch.exit_code() == 1
    assert "runtime.image=/no.sif: no such file" in launch.stderr
    assert "submitted" not in launch.stderr


def test_what_a_node_lacks_is_told_by_its_job(slurm: Cluster, run: Run) -> None:
    launch = run(
        *("submit=slurm", "workload=probe", "server.python=null", "preflight=strict", "hydra.launcher.max_requeues=0"),
        *("runtime=apptainer", "runtime.image=/no.sif", "runtime.version=0.32.0"),
    )

    assert launch.exit_code() == 1
    assert "runtime.image=/no.sif: no such file" in launch.stderr
    assert launch.record("status.json")["cause"].startswith("infeasible: runtime: ")
