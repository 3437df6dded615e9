"""Options of the launcher, as a real Slurm takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.submitted import SubmitSweep
from tests.sweep.sweeps import MEASURE

StartCluster = Callable[..., Cluster]


@pytest.mark.parametrize("form", ["gpu_type=a100", "gres=gpu:a100"])
def test_gpus_have_the_type_that_was_asked_for(
    start_cluster: StartCluster, submit_sweep: SubmitSweep, form: str
) -> None:
    start_cluster(num_nodes=1, gpu_type="a100")
    there = submit_sweep("dry_run=true", "inference.tensor_parallel_size=2", f"hydra.launcher.{form}")
    not_there = submit_sweep("dry_run=true", f"hydra.launcher.{form.replace('a100', 'h100')}")

    assert (there.exit_code(), not_there.exit_code()) == (0, 0)
    assert "a100:2" in there.launch.stdout
    assert "to start at" in there.launch.stdout
    assert "h100:1" in not_there.launch.stdout
    assert "sbatch failed" in not_there.launch.stdout


def test_a_profile_of_ones_own_is_a_launcher(slurm: Cluster, submit_sweep: SubmitSweep, tmp_path: Path) -> None:
    profile = tmp_path / "conf" / "hydra" / "launcher" / "mini.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text("defaults: [slurm, _self_]\npartition: high\nadditional_parameters: {nice: 7}\n")
    folder = ["--config-dir", str(tmp_path / "conf")]

    sweep = submit_sweep(*folder, "hydra/launcher=mini", "hydra.launcher.cpus_per_task=3")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    (script,) = sweep.scripts()
    wanted = ["--partition=high", "--nice=7", "--cpus-per-task=3"]
    assert [flag for flag in wanted if f"#SBATCH {flag}\n" in script] == wanted
    assert slurm.run("squeue", "-h", "-t", "all", "-j", str(sweep.arrays()[0]["job_id"]), "-o", "%P").split() == [
        "high"
    ]


def test_lines_around_a_job_run_and_do_not_hide_how_it_ended(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    lines = ["hydra.launcher.setup=['export GREETING=hello']", "hydra.launcher.teardown=['echo all over']"]
    commands = f"workload.command='[ $GREETING = hello ] && {MEASURE}','exit 3'"
    sweep = submit_sweep(*lines, commands)

    assert sweep.exit_code() == 1
    (job,) = sweep.wait_submitted()
    assert sorted(str(record["verdict"]) for record in sweep.records()) == ["failed", "ok"]
    assert slurm.states()[job] == "FAILED"
    assert "all over" in sweep.logs()


def test_a_run_on_a_machine_without_slurm_says_so(submit_sweep: SubmitSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    sweep = submit_sweep()

    assert sweep.exit_code() == 1
    assert "is this a login node of the cluster?" in sweep.launch.stderr
