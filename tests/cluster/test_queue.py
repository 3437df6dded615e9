"""What Slurm prints of jobs, as it was recorded (22.05), and Slurm's programs that fail or hang."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mixvllm.cluster.limits import Limits, parse_limits
from mixvllm.cluster.queue import Job, array_of, expand, parse_sacct, parse_squeue, read_queue
from mixvllm.cluster.slurm import SlurmRefused, SlurmUnreachable, run_slurm

SQUEUE = """\
1    |FAILED    |0 |mini  |n1     |NonZeroExitCode
2    |FAILED    |0 |mini  |n1     |JobLaunchFailure
12   |CANCELLED |0 |mini  |n1     |None
3    |COMPLETED |0 |mini  |n1     |None
4_2  |PENDING   |0 |mini  |       |JobArrayTaskLimit
4_0  |RUNNING   |1 |mini  |n[1-2] |None
5+1  |RUNNING   |0 |N/A   |n2     |None
8    |COMPLETING|0 |mini  |n1     |None
9    |PENDING   |0 |mini  |       |ReqNodeNotAvail, UnavailableNodes:n[1-500]|x
"""

SACCT = """\
17_0|COMPLETED|mini|n1
17_1|CANCELLED by 1000|mini|n1
17_[4-6%2]|PENDING|mini|None assigned
18|TIMEOUT|mini|n2
19|FAILED|mini|n2
"""


def test_each_job_of_squeue_is_told_with_how_it_ended() -> None:
    jobs = parse_squeue(SQUEUE)

    ends = {id_: (job.state, job.reason) for id_, job in jobs.items() if job.has_ended}
    assert ends == {
        "1": ("FAILED", "NonZeroExitCode"),
        "2": ("FAILED", "JobLaunchFailure"),
        "12": ("CANCELLED", None),
        "3": ("COMPLETED", None),
    }


def test_a_job_that_runs_has_its_nodes_and_restarts() -> None:
    assert parse_squeue(SQUEUE)["4_0"] == Job("4_0", "RUNNING", nodes="n[1-2]", num_restarts=1, cluster="mini")


def test_a_pending_job_has_slurms_reason_as_it_is() -> None:
    jobs = parse_squeue(SQUEUE)

    assert (jobs["4_2"].words, jobs["9"].reason) == (
        "pending (JobArrayTaskLimit)",
        "ReqNodeNotAvail, UnavailableNodes:n[1-500]|x",
    )


def test_what_is_being_ended_has_not_ended() -> None:
    job = parse_squeue(SQUEUE)["8"]

    assert (job.is_pending, job.is_running, job.has_ended) == (False, True, False)


def test_a_state_that_we_do_not_know_is_neither_pending_nor_running_nor_ended() -> None:
    job = parse_squeue("1 |LEVITATING |0 |mini |n1 |None\n")["1"]

    assert (job.is_pending, job.is_running, job.has_ended) == (False, False, False)


def test_of_one_job_on_two_clusters_the_one_counts_that_was_not_given_up() -> None:
    revoked, runs = "7 |REVOKED |0 |a | |None\n", "7 |RUNNING |0 |b |n1 |None\n"

    assert [parse_squeue(text)["7"].cluster for text in (revoked + runs, runs + revoked)] == ["b", "b"]


def test_accounting_tells_of_each_element_of_a_range() -> None:
    jobs = parse_sacct(SACCT)

    assert {id_: job.state for id_, job in jobs.items()} == {
        "17_0": "COMPLETED",
        "17_1": "CANCELLED",
        **dict.fromkeys(("17_4", "17_5", "17_6"), "PENDING"),
        "18": "TIMEOUT",
        "19": "FAILED",
    }


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("17", ["17"]),
        ("17_3", ["17_3"]),
        ("17+1", ["17+1"]),
        ("17_[3]", ["17_3"]),
        ("17_[0,4-6%2]", ["17_0", "17_4", "17_5", "17_6"]),
        ("17_[0-8:4]", ["17_0", "17_4", "17_8"]),
    ],
)
def test_a_range_of_elements_is_each_of_them(text: str, ids: list[str]) -> None:
    assert expand(text) == ids
    assert {array_of(id_) for id_ in ids} == {"17"}


def test_the_limits_of_a_cluster_are_read_from_its_configuration() -> None:
    text = "Configuration data as of 2026-11-22T23:11:49\nAccountingStorageType   = accounting_storage/slurmdbd\n"
    text += "ClusterName             = mini\nMaxArraySize            = 101\nMaxJobCount             = 10000\n"
    text += "SLURM_VERSION           = 22.05.8\n\nSlurmctld(primary) at vm is UP\n"

    assert parse_limits(text) == Limits("mini", 101)


def test_without_slurm_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(SlurmUnreachable, match="is this a login node"):
        read_queue(["1"])


def test_a_program_that_hangs_is_given_up_and_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("squeue", "exec sleep 60", monkeypatch)

    with pytest.raises(SlurmUnreachable, match=re.escape("squeue gave no answer in 0.1 s")):
        run_slurm(["squeue"], timeout_s=0.1)


def test_a_controller_that_is_down_leaves_the_states_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    _fake("squeue", f"echo '1|RUNNING|0|mini|n1|None'; echo '{words}' >&2; exit 1", monkeypatch)

    with pytest.raises(SlurmUnreachable, match=re.escape(words)):
        read_queue(["1"])


def test_a_program_that_a_signal_ended_has_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("squeue", "kill -PIPE $$", monkeypatch)

    with pytest.raises(SlurmUnreachable, match="squeue was ended by signal 13; nothing is known of the jobs"):
        read_queue(["1"])


def test_a_refusal_has_slurms_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("sbatch", "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1", monkeypatch)

    with pytest.raises(SlurmRefused, match="exit code 1\n    sbatch: error: invalid partition specified: nowhere"):
        run_slurm(["sbatch"])


def test_accounting_that_fails_leaves_what_the_queue_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("squeue", "echo '1|RUNNING|0|mini|n1|None'", monkeypatch)
    _fake("sacct", "echo 'sacct: error: Unable to connect to database' >&2; exit 1", monkeypatch)

    assert set(read_queue(["1", "2"])) == {"1"}


def test_accounting_is_asked_once_and_for_what_the_queue_has_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("squeue", "echo x >> squeues; echo '17_1|RUNNING|0|mini|n1|None'", monkeypatch)
    _fake("sacct", "echo \"$*\" >> saccts; echo '17_0|COMPLETED|mini|n1'; echo '17_1|PENDING|mini|'", monkeypatch)

    jobs = read_queue(["17_0", "17_1", "18_0"])

    assert {id_: job.state for id_, job in jobs.items()} == {"17_0": "COMPLETED", "17_1": "RUNNING"}
    assert (Path("squeues").read_text(), Path("saccts").read_text().count("--jobs=17,18\n")) == ("x\n", 1)


def test_accounting_that_is_behind_has_no_job_run_that_the_queue_has_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("squeue", "true", monkeypatch)
    _fake("sacct", "echo '17|RUNNING|mini|n1'", monkeypatch)

    assert read_queue(["17"]) == {}


def test_settings_for_the_users_own_eyes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake("squeue", "env | grep -c SQUEUE_; true", monkeypatch)
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")

    assert run_slurm(["squeue"]) == "0\n"


def _fake(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program on PATH."""
    folder = Path("bin").absolute()
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"].removeprefix(f"{folder}:")]))
