"""Hydra's own launcher for Slurm: each point is a job and a run by itself, with the right end."""

from __future__ import annotations

import pytest

from tests.launches import Launch, Run
from tests.slurm.cluster import Cluster

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

JOB = ["hydra.launcher.cpus_per_task=2", "hydra.launcher.mem_gb=1", "hydra.launcher.timeout_min=20"]


def test_points_are_jobs_and_their_failures_the_commands(slurm: Cluster, run: Run) -> None:
    stock = ["--multirun", "hydra/launcher=submitit_slurm", *JOB, "workload=probe"]
    good = run(*stock, "inference.max_num_seqs=8,16")
    bad = run(*stock, "server.restart=never", die_in="weights")

    assert good.exit_code() == 0, good.stderr
    assert bad.exit_code() == 1
    assert "the server ended by itself during start-up" in bad.stderr
    assert any("Traceback" in text and "the server ended by itself during start-up" in text for text in printed(bad))
    assert len(list(good.folder.glob("outputs/*/*/result.json"))) == 2


def printed(launch: Launch) -> list[str]:
    """Return what each job printed."""
    return [file.read_text() for file in launch.folder.glob("**/.submitit/**/*_log.*")]
