"""Sweeps by Hydra's own launchers: each point is a run by itself, and the exit status is right."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.sweep.sweeps import StartSweep, Sweep, command

FAILS_FOR_TWO = command("[ $MIXVLLM_SEED != 2 ] || exit 3")
NEEDS_SUBMITIT = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="needs the extra slurm"
)
LAUNCHERS = ["basic", pytest.param("submitit_local", marks=NEEDS_SUBMITIT)]


def results(sweep: Sweep) -> dict[int, dict[str, Any]]:
    """Return result.json of each run by its seed."""
    folders = sweep.launch.folder.parent.glob("outputs/*/*/result.json")
    seed_of = lambda path: json.loads(path.with_name("point.json").read_text())["config"]["workload"]["seed"]  # noqa: E731
    return {seed_of(path): json.loads(path.read_text()) for path in folders}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_point_is_run_and_all_went_well(start_sweep: StartSweep, launcher: str) -> None:
    sweep = start_sweep(f"hydra/launcher={launcher}", "workload.seed=1,3")

    code = sweep.exit_code()

    assert code == 0, sweep.launch.stderr
    assert {seed: result["status"] for seed, result in results(sweep).items()} == {1: "ok", 3: "ok"}
    assert sweep.left() == []


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_point_that_fails_is_told_and_the_other_one_is_run(start_sweep: StartSweep, launcher: str) -> None:
    sweep = start_sweep(f"hydra/launcher={launcher}", "workload.seed=2,3", FAILS_FOR_TWO)

    code = sweep.exit_code()

    assert code == 1, sweep.launch.stderr
    assert {seed: result["status"] for seed, result in results(sweep).items()} == {2: "failed", 3: "ok"}
    assert "ended with status 3" in sweep.launch.stderr
    logs = [file.read_text() for file in sweep.launch.folder.glob("**/.submitit/**/*_log.err")]
    assert any("Traceback" in text and "ended with status 3" in text for text in logs) == (launcher != "basic")
    assert "Traceback" not in sweep.launch.stderr.rpartition("error: ")[0] or launcher != "basic"


def test_ctrl_c_ends_the_whole_sweep(start_sweep: StartSweep) -> None:
    sweep = start_sweep("hydra/launcher=basic", "workload.seed=1,2", command("sleep 30"))
    sweep.launch.wait_for(lambda: list(sweep.launch.folder.parent.glob("outputs/*/*/endpoint.json")))
    sweep.note()
    sweep.interrupt()

    code = sweep.exit_code()

    assert code == 130, sweep.launch.stderr
    assert [result["status"] for result in results(sweep).values()] == ["interrupted"]


@pytest.mark.parametrize("override", ["sweep.zip=[a,b]", "sweep.where='workload.seed > 1'", "sweep.name=mine"])
def test_what_only_our_launcher_does_is_refused(start_sweep: StartSweep, override: str) -> None:
    sweep = start_sweep("hydra/launcher=basic", "workload.seed=1,2", override)

    assert sweep.exit_code() == 2
    assert "sweep." in sweep.launch.stderr
    assert results(sweep) == {}


def test_a_plan_is_shown_whatever_the_launcher(start_sweep: StartSweep) -> None:
    sweep = start_sweep("hydra/launcher=basic", "workload.seed=1,2", "dry_run=true")

    assert sweep.exit_code() == 0
    assert results(sweep) == {}
