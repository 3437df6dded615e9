"""What of a sweep is submitted to a cluster, without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixvllm.cli import slurm_sweep
from mixvllm.cli.slurm_sweep import submit_missing
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.sweep.plan_record import missing
from tests.sweep.planned import planned_folder, write_repeat


def test_what_a_job_ends_meanwhile_is_not_submitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1,2", "workload.repeats=1")
    first, second = (point.content_hash for point in plan.points)
    submitted: list[Any] = []

    def end_one(_work: Path) -> list[Any]:
        write_repeat(folder, first, 1)
        return []

    def note(_work: Path, jobs: Any, *_: Any) -> list[Any]:
        submitted.extend(repeat for _, element in jobs for repeat in element.repeats)
        return []

    monkeypatch.setattr(slurm_sweep, "living_jobs", end_one)
    monkeypatch.setattr(slurm_sweep, "submit_jobs", note)

    submit_missing(plan, folder, list(missing(plan.points, folder)), SlurmLauncherConfig())

    assert submitted == [(second, 1)]
