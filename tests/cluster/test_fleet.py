"""Runs in jobs of Slurm, held against what Slurm says; commands on them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mixvllm.cli.fleet.logs import show_log
from mixvllm.cli.fleet.ps import show_runs
from mixvllm.cli.fleet.stop import stop
from mixvllm.cli.fleet.url import NotServing, show_url, tunnel
from mixvllm.cli.fleet.wait import wait_for
from mixvllm.cluster.fleet import Fleet
from mixvllm.cluster.submission import Array, write_submission
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.registry import RunNotFound, host_name
from mixvllm.server.stopping import NotStoppable
from tests.cluster.fake_slurm import FakeSlurm
from tests.written_runs import write_run

NODE = "n1"


def in_job(name: str = "a", job_id: str = "17_0", **status: Any) -> RunFolder:
    """Write a run that says that it serves in a job, on another machine."""
    job = {"job_id": job_id, "restart_count": 0, "nonce": "x", "cluster": "mini", "node": NODE}
    run = write_run(name, **{"state": "ready", "host": NODE, "url": "http://127.0.0.1:8000", "job": job, **status})
    run.endpoint.write_text(json.dumps({"api_base": "http://127.0.0.1:8000/v1", "api_key": None, "job": job}))
    return run


def submit(*arrays: Array, name: str = "sweep", cluster: str = "mini") -> Path:
    folder = Path.cwd() / "outputs" / name
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    write_submission(folder, cluster, arrays)
    return folder


def tell_end(sweep: Path, index: int, state: str, cause: str | None = None) -> None:
    """Have element `index` of the array 17 write how it ended."""
    array = sweep / "slurm" / "first"
    array.mkdir(parents=True, exist_ok=True)
    write_json(array / "array.json", {"job_id": "17"})
    write_json(array / f"job-{index}.json", {"state": state, "cause": cause})


@pytest.mark.parametrize(
    ("jobs", "state", "cause"),
    [
        (["17_0 RUNNING - n1"], "ready", None),
        (["17_0 COMPLETING - n1"], "ready", None),
        (["17_0 CANCELLED - n1"], "stopped", "its job 17_0 has ended: cancelled"),
        (["17_0 TIMEOUT TimeLimit n1"], "failed", "its job 17_0 has ended: timeout"),
        (["17_0 NODE_FAIL - n1"], "failed", "its job 17_0 has ended: node fail"),
        (["17_0 COMPLETED - n1"], "lost", "its job 17_0 has ended: completed"),
        (["17_0 PENDING BeginTime - 1"], "lost", "its job 17_0 was put back into the queue: pending (BeginTime)"),
        (["17_0 RUNNING - n2 1"], "lost", "its job 17_0 was put back into the queue: running on n2"),
        ([], "lost", "Slurm has forgotten its job 17_0, and nobody recorded its end"),
    ],
)
def test_what_slurm_says_of_a_job_wins_over_what_the_run_has_recorded(
    fake_slurm: FakeSlurm, jobs: Sequence[str], state: str, cause: str | None
) -> None:
    in_job()
    fake_slurm.jobs(*jobs)

    found = Fleet().find_run("last")

    assert (found.state, found.cause) == (state, cause)


def test_an_end_that_was_recorded_stays_whatever_slurm_has_forgotten(fake_slurm: FakeSlurm) -> None:
    in_job(state="failed", cause="out of memory")

    found = Fleet().find_run("last")

    assert (found.state, found.cause, fake_slurm.asked("squeue")) == ("failed", "out of memory", [])


def test_where_slurm_does_not_answer_the_state_is_unknown(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    in_job()
    fake_slurm.program("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")

    show_runs()
    captured = capsys.readouterr()

    assert "unknown, job 17_0 on n1" in captured.out
    assert captured.err == "unknown: squeue could not reach Slurm; nothing is known of the jobs, which go on\n"
    with pytest.raises(NotServing, match="whether a serves is not known: squeue could not reach Slurm"):
        show_url("a")
    with pytest.raises(NotStoppable, match="nothing was stopped"):
        stop(["a"])


def test_a_job_of_another_cluster_is_not_taken_for_ours(fake_slurm: FakeSlurm) -> None:
    submit(Array("17", 1), cluster="other")
    fake_slurm.jobs("17_0 RUNNING - n1")

    with pytest.raises(NotStoppable, match="on the cluster other, and the one that answers here is mini"):
        stop(["sweep"])
    assert fake_slurm.asked("scancel") == []


def test_a_job_that_is_absent_on_another_cluster_has_not_ended_for_that(fake_slurm: FakeSlurm) -> None:
    submit(Array("17", 1), cluster="other")

    assert Fleet().find_run("sweep").state == "unknown"


def test_slurm_is_asked_once_for_all_runs(fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    submit(Array("17", 40), Array("18", 2))
    in_job("a", "17_0"), in_job("b", "17_1")
    fake_slurm.jobs(
        *(f"17_{index} RUNNING - n1" for index in range(40)), "18_0 PENDING Priority", "18_1 PENDING Resources"
    )

    show_runs()

    assert "running (40 running, 2 pending: Priority, Resources)" in capsys.readouterr().out
    assert (len(fake_slurm.asked("squeue")), fake_slurm.asked("sacct")) == (1, [])


def test_without_jobs_slurm_is_not_asked(fake_slurm: FakeSlurm) -> None:
    write_run("a", state="stopped")

    show_runs()

    assert fake_slurm.asked("squeue") == []


def test_what_was_submitted_is_listed_with_slurms_reason(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(Array("17", 1))
    fake_slurm.jobs("17_0 PENDING QOSMaxJobsPerUserLimit")

    show_runs()

    assert "pending (QOSMaxJobsPerUserLimit)" in capsys.readouterr().out


def test_jobs_that_slurm_has_forgotten_are_told_by_what_they_wrote(fake_slurm: FakeSlurm) -> None:
    sweep = submit(Array("17", 3))
    tell_end(sweep, 0, "done")
    tell_end(sweep, 1, "failed", "2 of 3 repeats failed")
    fake_slurm.jobs("17_2 RUNNING - n1")

    assert Fleet().find_run("sweep").phase == "1 running, 1 done, 1 failed"
    tell_end(sweep, 2, "done")
    ended = Fleet().find_run("sweep")
    assert (ended.state, ended.cause) == ("failed", "1 of 3 jobs failed: 2 of 3 repeats failed")


def test_all_that_was_submitted_is_done_when_each_job_is(fake_slurm: FakeSlurm) -> None:
    sweep = submit(Array("17", 2))
    tell_end(sweep, 0, "done")
    fake_slurm.jobs("17_1 COMPLETED - n1")

    assert (Fleet().find_run("sweep").state, wait_for("sweep", "stopped")) == ("done", 0)


def test_a_job_that_neither_slurm_nor_a_record_knows_is_lost(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = submit(Array("17", 1))

    assert wait_for("sweep", "stopped") == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: sweep is lost: job 17_0 lost: Slurm has forgotten it, and it left no word of its end",
        "  job 17_0 is lost: Slurm has forgotten it, and it left no word of its end",
        f"  next: mixvllm resume {folder}",
    ]


def test_a_run_is_found_by_its_job_and_a_sweep_by_a_part_of_its_name(fake_slurm: FakeSlurm) -> None:
    folder = submit(Array("17", 2))
    in_job("a", "17_0")
    fake_slurm.jobs("17_0 RUNNING - n1", "17_1 PENDING Resources")

    assert [Fleet().find_run(text).name for text in ("17_0", "swe", str(folder), "a")] == ["a", "sweep", "sweep", "a"]
    with pytest.raises(RunNotFound, match="job 17_1 of sweep has started no server"):
        Fleet().find_run("17_1")


def test_stopping_a_sweep_cancels_what_has_not_ended(fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    submit(Array("17", 2), Array("18", 1))
    fake_slurm.jobs("17_0 COMPLETED - n1", "17_1 RUNNING - n1", "18_0 PENDING Resources")
    cancelled = ("17_0 COMPLETED - n1", "17_1 CANCELLED - n1", "18_0 CANCELLED - n1")
    fake_slurm.program("scancel", "true")

    codes = [stop(["sweep"], timeout_s=0)]
    fake_slurm.jobs(*cancelled)
    codes.append(stop(["sweep"]))

    assert (codes, fake_slurm.asked("scancel")) == ([1, 0], ["17_1 18_0"])
    captured = capsys.readouterr()
    assert captured.err.startswith("stopping sweep: cancelling 2 jobs\nerror: sweep is still running")
    assert captured.out == "sweep was stopped: 2 of 3 jobs stopped: cancelled\n"


def test_stopping_a_run_cancels_its_job(fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    in_job()
    fake_slurm.jobs("17_0 RUNNING - n1")

    assert stop(["a"], timeout_s=0) == 1
    assert fake_slurm.asked("scancel") == ["17_0"]
    assert capsys.readouterr().err.startswith("stopping a: cancelling job 17_0\n")


def test_stopping_every_run_of_this_machine_leaves_those_in_jobs(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    in_job()
    fake_slurm.jobs("17_0 RUNNING - n1")

    stop([], everything=True)

    assert fake_slurm.asked("scancel") == []
    assert "1 runs are in jobs of Slurm and go on" in capsys.readouterr().err


def test_the_url_of_a_run_on_a_node_comes_with_a_tunnel(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    in_job()
    fake_slurm.jobs("17_0 RUNNING - n1")

    show_url("a")

    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "export OPENAI_BASE_URL=http://127.0.0.1:8000/v1"
    assert captured.err.splitlines()[-1].endswith(f"first: ssh -N -L 8000:127.0.0.1:8000 -J {host_name()} n1")


def test_a_server_that_other_machines_reach_needs_no_jump() -> None:
    assert tunnel({"api_base": "http://10.0.0.7:8001/v1"}, NODE, "login") == "ssh -N -L 8001:10.0.0.7:8001 login"


def test_a_server_on_all_interfaces_is_reached_by_its_nodes_name(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    run = in_job()
    write_json(run.endpoint, {**json.loads(run.endpoint.read_text()), "bind": "0.0.0.0"})
    fake_slurm.jobs("17_0 RUNNING - n1")

    show_url("a")

    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "export OPENAI_BASE_URL=http://n1:8000/v1"
    assert captured.err == f"# from another machine, first: ssh -N -L 8000:n1:8000 {host_name()}\n"


def test_a_run_is_reached_at_the_address_that_was_chosen() -> None:
    endpoint = {"api_base": "http://127.0.0.1:8001/v1", "bind": "0.0.0.0", "address": "10.77.0.11"}

    assert tunnel(endpoint, NODE, "login") == "ssh -N -L 8001:10.77.0.11:8001 login"


def test_an_endpoint_that_an_earlier_start_of_a_job_left_is_not_given(fake_slurm: FakeSlurm) -> None:
    run = in_job()
    endpoint = json.loads(run.endpoint.read_text())
    write_json(run.endpoint, {**endpoint, "job": {**endpoint["job"], "nonce": "y"}})
    fake_slurm.jobs("17_0 RUNNING - n1")

    with pytest.raises(NotServing, match="is of another start of its job"):
        show_url("a")


@pytest.mark.parametrize(
    ("job", "state"),
    [
        ("17_0 PENDING BeginTime - 1", "pending (BeginTime)"),
        ("17_0 RUNNING - n2 1", "running (n2)"),
        ("17_0 COMPLETED - n1 1", "stopped"),
    ],
)
def test_a_run_that_was_submitted_has_not_ended_while_its_job_goes_on(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str], job: str, state: str
) -> None:
    run = in_job(state="stopped")
    write_submission(run.path, "mini", [Array("17", 1)])
    fake_slurm.jobs(job)

    show_runs()

    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith(f"a    {state}")
    assert Fleet().find_run("last").state == state.partition(" ")[0]


def test_an_endpoint_of_a_job_that_was_requeued_is_never_given(fake_slurm: FakeSlurm) -> None:
    in_job()
    fake_slurm.jobs("17_0 RUNNING - n2 1")

    with pytest.raises(NotServing, match="put back into the queue: running on n2"):
        show_url("a")


def test_the_one_server_of_a_sweep_is_reached_by_the_sweeps_name(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(Array("17", 2), name="2026-01-02")  # where runs are
    in_job("a", "17_0")
    in_job("b", "17_1")
    fake_slurm.jobs("17_0 RUNNING - n1", "17_1 PENDING Resources")

    assert (show_url("2026-01-02"), wait_for("2026-01-02", "ready")) == (0, 0)
    assert "a is ready" in capsys.readouterr().out
    fake_slurm.jobs("17_0 RUNNING - n1", "17_1 RUNNING - n1")
    with pytest.raises(NotServing, match="2 servers of 2026-01-02 serve"):
        show_url("2026-01-02")


def test_logs_of_a_sweep_are_those_of_the_run_that_lives(
    fake_slurm: FakeSlurm, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    submit(Array("17", 2), name="2026-01-02")
    in_job("a", "17_0").server_log.write_text("of a\n")
    in_job("b", "17_1").server_log.write_text("of b\n")
    fake_slurm.jobs("17_0 RUNNING - n1", "17_1 COMPLETED - n1")

    show_log("2026-01-02")

    assert capfdbinary.readouterr().out == b"of a\n"


def test_without_a_server_the_logs_of_a_sweep_are_what_its_job_printed(
    fake_slurm: FakeSlurm, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sweep = submit(Array("17", 2))
    tell_end(sweep, 0, "done")
    tell_end(sweep, 1, "failed")
    log = sweep / "slurm" / "first" / "17_1_0_log.out"
    log.write_text("infeasible: GPUs\n")

    assert (show_log("sweep"), wait_for("sweep", "stopped")) == (0, 1)

    captured = capfdbinary.readouterr()
    assert captured.out == b"infeasible: GPUs\n"
    assert f"  job 17_1 failed: see its log\n    log: {log}\n" in captured.err.decode()


def test_logs_before_the_first_server_say_what_is_waited_for(
    fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(Array("17", 1))
    fake_slurm.jobs("17_0 PENDING Priority")

    assert show_log("last") == 0
    assert capsys.readouterr().err.startswith("sweep has printed nothing yet: it is pending (Priority)\n")


def test_the_list_as_json_has_every_job(fake_slurm: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    submit(Array("17", 1))
    fake_slurm.jobs("17_0 RUNNING - n1")

    show_runs(as_json=True)

    (record,) = json.loads(capsys.readouterr().out)
    assert record["jobs"] == [{"job_id": "17_0", "state": "running", "reason": None, "nodes": "n1", "log": None}]


def test_a_job_id_in_a_record_is_never_an_option(fake_slurm: FakeSlurm) -> None:
    in_job(job_id="--user=" + str(os.getuid()))

    assert Fleet().find_run("a").state == "ready"
    assert fake_slurm.asked("squeue") == []
