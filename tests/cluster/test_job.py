"""What a job has for itself on its node, and who stopped it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from mixvllm.cluster.array_folder import Terms
from mixvllm.cluster.element import start_limit
from mixvllm.cluster.job import ThisJob, own_surroundings, slot_of
from mixvllm.cluster.job_folders import job_folder, left_job_folders, remove_job_folder
from mixvllm.cluster.stopped_by import Stopper, parse_stopper
from mixvllm.errors import MixvllmError, PreflightFailed
from mixvllm.machine.ports import FIRST_PORT_VARIABLE
from mixvllm.runs.job import NONCE_VARIABLE
from mixvllm.sweep.slots import FIRST_INTERNAL_PORT

IN_A_JOB = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "21", "SLURM_RESTART_COUNT": "2"}


def job(number: int = 21, restart_count: int = 0) -> ThisJob:
    return ThisJob("17", 3, number, restart_count, "nonce")


def test_a_job_is_what_its_environment_says() -> None:
    found = ThisJob.of(IN_A_JOB)

    assert (found.job_id, found.number, found.restart_count) == ("17_3", 21, 2)
    assert found.nonce != ThisJob.of(IN_A_JOB).nonce


def test_outside_a_job_there_is_none() -> None:
    with pytest.raises(MixvllmError, match="SLURM_ARRAY_JOB_ID is not set"):
        ThisJob.of({})


def test_jobs_that_may_share_a_node_do_not_share_ports() -> None:
    first_ports = [job(number).first_port for number in range(1_000_000, 1_000_200)]

    assert len(set(first_ports)) == 200
    assert min(abs(one - other) for one in first_ports for other in first_ports if one != other) >= 40
    assert max(first_ports) + 1000 <= FIRST_INTERNAL_PORT


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({"CUDA_VISIBLE_DEVICES": "4,5"}, ("4", "5")),
        ({"CUDA_VISIBLE_DEVICES": "4,5,6,7"}, ("4", "5")),
        ({"SLURM_JOB_GPUS": "2,3"}, ("2", "3")),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_GPUS": "6,7"}, ("0", "1")),
    ],
)
def test_a_server_gets_gpus_that_slurm_gave_to_the_job(environment: dict[str, str], gpus: tuple[str, ...]) -> None:
    assert slot_of(job(), 2, environment).gpus == gpus


def test_a_job_with_too_few_gpus_is_refused() -> None:
    with pytest.raises(PreflightFailed, match="the job has 1 GPUs, and its server takes 2"):
        slot_of(job(), 2, {"CUDA_VISIBLE_DEVICES": "4"})


def test_a_job_has_folders_of_its_own_and_leaves_none() -> None:
    environment = {"TMPDIR": tempfile.gettempdir(), "TRITON_CACHE_DIR": "/mine"}
    stale = Path(tempfile.mkdtemp(prefix=f"mx{os.getuid()}-7-"))
    with own_surroundings(job(), environment):
        own = Path(environment["TMPDIR"])
        with own_surroundings(job(22), dict(environment, TMPDIR=str(own.parent))):
            assert own.is_dir()
        assert Path(environment["VLLM_CACHE_ROOT"]).is_relative_to(own)
        assert environment["TRITON_CACHE_DIR"] == "/mine"
        assert environment[NONCE_VARIABLE] == "nonce"
        assert environment[FIRST_PORT_VARIABLE] == str(job().first_port)
        assert not stale.exists()

    assert not own.exists()


def test_what_a_killed_job_left_is_left_alone_while_a_process_uses_it() -> None:
    environment = {"TMPDIR": tempfile.gettempdir()}
    stale = Path(tempfile.mkdtemp(prefix=f"mx{os.getuid()}-7-"))
    with (stale / "open").open("w"):
        assert stale not in left_job_folders(environment)
        with job_folder(21, environment):
            assert stale.exists()

    assert left_job_folders(environment) == [stale]
    assert remove_job_folder(stale)


def test_a_job_that_lives_keeps_its_folder() -> None:
    environment = {"TMPDIR": tempfile.gettempdir()}
    with job_folder(21, environment) as folder:
        assert left_job_folders(environment) == []
        assert not remove_job_folder(folder)


SHOWN = "JobId=21 ArrayJobId=17 JobState={state} Reason=None Requeue=1 Restarts={restarts} PreemptTime={preempted}"


@pytest.mark.parametrize(
    ("state", "restarts", "preempted", "stopper"),
    [
        ("COMPLETING", 1, "None", "cancelled"),
        ("CANCELLED", 1, "None", "cancelled"),
        ("RUNNING", 1, "2026-11-22T23:26:00", "preempted"),
        ("COMPLETING", 2, "None", "requeued"),
        ("RUNNING", 1, "None", "stopped"),
    ],
)
def test_who_stopped_a_job_is_what_slurm_shows_of_it(
    state: str, restarts: int, preempted: str, stopper: Stopper
) -> None:
    text = SHOWN.format(state=state, restarts=restarts, preempted=preempted)

    assert parse_stopper(text, job(restart_count=1)) == stopper


@pytest.mark.parametrize(("timeout_min", "signal_delay_s", "until_s"), [(60, 120, 3410.0), (2, 20, 80.0)])
def test_a_server_must_be_ready_before_slurm_may_say_that_the_job_ends(
    timeout_min: int, signal_delay_s: int, until_s: float
) -> None:
    limit = start_limit(100.0, Terms(3, 0.0, timeout_min, signal_delay_s))

    assert limit.until - 100.0 == pytest.approx(until_s)
