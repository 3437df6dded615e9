"""The record of what was submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm.cluster.submission import Array, find_submissions, read_submission, write_submission
from mixvllm.errors import UntrustedFile
from mixvllm.runs.job import NONCE_VARIABLE, job_of_environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs" / "sweeps" / "mine"
    folder.mkdir(parents=True, mode=0o700)
    return folder


def test_what_was_submitted_is_read_as_it_was_written(folder: Path) -> None:
    written = write_submission(folder, "mini", [Array("17", 2), Array("18", 1)])

    read = read_submission(folder)

    assert read is not None
    assert (read.arrays, read.cluster, read.host, read.name) == (written.arrays, "mini", written.host, "mine")
    assert read.element_ids == ["17_0", "17_1", "18_0"]


def test_a_folder_without_jobs_has_no_submission(folder: Path) -> None:
    assert read_submission(folder) is None


def test_every_submission_of_the_user_is_found(folder: Path) -> None:
    write_submission(folder, "mini", [Array("17", 2)])
    write_submission(folder, "mini", [Array("17", 2), Array("18", 2)])

    assert [[array.job_id for array in found.arrays] for found in find_submissions()] == [["17", "18"]]


@pytest.mark.parametrize("job_id", ["--user=you", "17 18", "", "17_3"])
def test_what_is_no_job_id_is_never_handed_to_slurm(folder: Path, job_id: str) -> None:
    write_submission(folder, "mini", [Array(job_id, 1)])

    with pytest.raises(UntrustedFile, match="no record of jobs"):
        read_submission(folder)


def test_a_record_that_others_can_write_is_not_read(folder: Path) -> None:
    write_submission(folder, "mini", [Array("17", 1)])
    (folder / "jobs.json").chmod(0o666)

    with pytest.raises(UntrustedFile, match="written by everybody"):
        read_submission(folder)
    assert find_submissions() == []


def test_a_run_knows_the_array_element_that_it_is_in() -> None:
    environment = {"SLURM_JOB_ID": "99", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}
    environment |= {"SLURM_RESTART_COUNT": "2", "SLURMD_NODENAME": "n1", NONCE_VARIABLE: "abc"}

    job = job_of_environment(environment)

    assert job == {"job_id": "17_3", "restart_count": 2, "nonce": "abc", "cluster": None, "node": "n1"}


def test_a_run_in_somebodys_own_allocation_is_in_no_job_of_ours() -> None:
    assert job_of_environment({"SLURM_JOB_ID": "99"}) is None
