"""What Slurm does to jobs that run: finished repeats stay, the others are measured later, nothing is left running."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mixvllm.cli.fleet.doctor import examine
from mixvllm.runs.files import write_json
from tests.slurm.cluster import Cluster
from tests.slurm.submitted import SubmitSweep, SubmittedSweep
from tests.sweep.sweeps import SECOND, command, hang, held


def hanging_once() -> str:
    """Return the override of a load whose second repeat, when it is measured first, waits for the file `gate`."""
    return command(hang(Path.cwd(), condition=SECOND, how=held(Path("gate").absolute())))


def begin(submit_sweep: SubmitSweep, *overrides: str, **script: object) -> tuple[SubmittedSweep, str, dict[str, Any]]:
    """Submit a sweep of one server; return it, its job, and the record of its first repeat, once the second hangs."""
    sweep = submit_sweep("workload.repeats=3", hanging_once(), *overrides, **script)
    (job,) = sweep.wait_submitted()
    sweep.launch.wait_for(lambda: Path("hung-0").exists() or sweep.launch.process.poll() is not None)
    assert len(sweep.records()) == 1, sweep.launch.stderr
    return sweep, job, sweep.records()[0]


def numbers(sweep: SubmittedSweep) -> list[tuple[int, str]]:
    return [(record["repeat"], record["verdict"]) for record in sweep.records()]


ALL_OK = [(1, "ok"), (2, "ok"), (3, "ok")]


def test_a_job_whose_time_is_nearly_up_goes_on_in_another_one(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep, job, first = begin(submit_sweep)

    slurm.run("scancel", "--signal=USR2", job)

    assert sweep.exit_code() == 0, sweep.launch.stderr + sweep.logs()
    assert numbers(sweep) == ALL_OK
    assert sweep.records()[0] == first
    assert (sweep.job(job)["state"], sweep.job(job)["restart_count"]) == ("done", 1)
    assert sorted(sweep.states()) == ["stopped", "stopped"]
    assert slurm.left() == []


def test_a_job_goes_back_into_the_queue_so_often_and_no_more(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep, job, _ = begin(submit_sweep, "hydra.launcher.max_requeues=0")

    slurm.run("scancel", "--signal=USR2", job)

    assert sweep.exit_code() == 1
    assert sweep.job(job)["state"] == "given_up"
    assert slurm.states()[job] == "FAILED"
    assert f"job {job} ended: FAILED (NonZeroExitCode); log: {sweep.folder.path}" in sweep.launch.stderr
    assert len(numbers(sweep)) < 3
    assert "mixvllm resume" in sweep.launch.stderr


def test_a_job_that_is_too_short_for_one_measurement_is_not_tried_again(
    slurm: Cluster, submit_sweep: SubmitSweep
) -> None:
    sweep = submit_sweep("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=20", command("sleep 60"))
    (job,) = sweep.wait_submitted()
    sweep.wait_began()

    slurm.run("scancel", "--signal=USR2", job)

    assert sweep.exit_code() == 1
    assert sweep.job(job)["state"] == "given_up"
    assert "raise hydra.launcher.timeout_min" in sweep.logs()


def test_a_server_that_cannot_be_ready_in_its_job_has_failed(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    """It is not tried again: the next job would have no more time. The job thinks it is short, Slurm gives it more."""
    for node in ("n1", "n2"):
        slurm.drain(node)
    sweep = submit_sweep("server.restart=on_failure", phase_s=60)
    (job,) = sweep.wait_submitted()
    (elements,) = sweep.folder.path.glob("slurm/*/elements.json")
    written = json.loads(elements.read_text())
    write_json(elements, written | {"terms": written["terms"] | {"timeout_min": 1, "signal_delay_s": 52}})
    for node in ("n1", "n2"):
        slurm.undrain(node)

    assert sweep.exit_code() == 1
    (record,) = sweep.records()
    assert record["verdict"] == "failed"
    assert "raise hydra.launcher.timeout_min" in record["reason"]
    assert record["failure"]["override"] == "hydra.launcher.timeout_min=2"
    assert (sweep.job(job)["state"], sweep.job(job)["restart_count"]) == ("failed", 0)
    assert len(sweep.states()) == 1
    assert slurm.left() == []


def test_a_cancelled_job_is_recorded_as_such_and_its_points_can_be_resumed(
    slurm: Cluster, submit_sweep: SubmitSweep
) -> None:
    sweep, job, first = begin(submit_sweep)

    slurm.run("scancel", job)

    assert sweep.exit_code() == 1
    assert sweep.job(job)["state"] == "cancelled"
    assert sweep.states() == ["stopped"]
    assert slurm.left() == []
    assert len(numbers(sweep)) < 3

    again = submit_sweep("workload.repeats=3", hanging_once())
    assert again.exit_code() == 0, again.launch.stderr
    assert numbers(again) == ALL_OK
    assert again.records()[0] == first


def test_a_job_that_was_cancelled_before_it_ran_is_recorded_as_such(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    for node in ("n1", "n2"):
        slurm.drain(node)
    sweep = submit_sweep()
    (job,) = sweep.wait_submitted()

    slurm.run("scancel", job)

    assert sweep.exit_code() == 1
    assert sweep.job(job)["state"] == "cancelled"


def test_a_preempted_job_goes_on_later(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep, job, first = begin(submit_sweep, "hydra.launcher.nodelist=n1")

    slurm.wait_state(slurm.preempt("n1"), "COMPLETED")

    assert sweep.exit_code() == 0, sweep.launch.stderr + sweep.logs()
    assert numbers(sweep) == ALL_OK
    assert sweep.records()[0] == first
    assert sweep.job(job)["restart_count"] == 1
    assert slurm.left() == []


def test_a_job_on_a_node_that_dies_goes_on_elsewhere(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep, job, first = begin(submit_sweep)
    node = slurm.run("squeue", "-h", "-j", job, "-o", "%N").strip()

    slurm.kill_node(node)

    assert sweep.exit_code() == 0, sweep.launch.stderr + sweep.logs()
    assert numbers(sweep) == ALL_OK
    assert sweep.records()[0] == first
    assert sweep.job(job)["restart_count"] == 1


def test_a_job_that_somebody_requeues_goes_on_where_it_was(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep, job, first = begin(submit_sweep)

    slurm.requeue(job)

    assert sweep.exit_code() == 0, sweep.launch.stderr + sweep.logs()
    assert numbers(sweep) == ALL_OK
    assert sweep.records()[0] == first


def test_a_start_that_another_one_has_taken_over_from_ends(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    """A node that Slurm has lost may go on for a while beside the one that has its jobs then."""
    sweep, job, _ = begin(submit_sweep)
    record = {**sweep.job(job), "nonce": "of another start"}

    write_json(next(sweep.folder.path.glob("slurm/*/job-0.json")), record)
    Path("gate").touch()

    assert sweep.exit_code() == 1
    assert sweep.job(job)["nonce"] == "of another start"
    assert len(numbers(sweep)) < 3
    assert slurm.left() == []


def test_a_server_that_ignores_a_stop_is_killed_with_its_job(slurm: Cluster, submit_sweep: SubmitSweep) -> None:
    sweep, job, _ = begin(submit_sweep, hang_on_term=True)

    slurm.run("scancel", job)
    slurm.wait_state(job, "CANCELLED")

    assert sweep.exit_code() == 1
    assert slurm.left() == []
    assert {verdict for _, verdict in numbers(sweep)} == {"ok"}


def test_what_a_killed_job_leaves_is_named_and_removed_by_the_next_one(
    slurm: Cluster, submit_sweep: SubmitSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, job, _ = begin(submit_sweep)
    for process in psutil.process_iter():
        if is_of(process, sweep):
            process.kill()
    slurm.wait_state(job, "FAILED")
    assert sweep.exit_code() == 1
    (folder,) = job_folders()

    assert examine() == 1
    assert f"temporary folder {folder}: its job was killed" in capsys.readouterr().out
    assert submit_sweep("workload.repeats=3", hanging_once()).exit_code() == 0
    assert job_folders() == []


def is_of(process: psutil.Process, sweep: SubmittedSweep) -> bool:
    """Whether a process is the program of a job of `sweep`, whose guardians end the rest."""
    with suppress(psutil.NoSuchProcess):
        line = " ".join(process.cmdline())
        return "mixvllm.cluster.element" in line and str(sweep.folder.path) in line and "srun" not in line
    return False


def job_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"mx{os.getuid()}-*"))
