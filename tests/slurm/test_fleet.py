"""Commands on a run in a job of a real Slurm; its server is the fake one."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import httpx
import pytest

from mixvllm.cli.fleet.logs import show_log
from mixvllm.cli.fleet.ps import show_runs
from mixvllm.cli.fleet.serving import NoServer, servers_of
from mixvllm.cli.fleet.stop import stop
from mixvllm.cli.fleet.url import NotServing, show_url
from mixvllm.cli.fleet.wait import wait_for
from mixvllm.cli.reload import ReloadFailed, reload_run
from mixvllm.cli.top import show_top
from mixvllm.cluster.fleet import Fleet
from mixvllm.cluster.submission import Array, write_submission
from mixvllm.runs.job import NONCE_VARIABLE
from mixvllm.server.fleet import RunState
from tests.fakes.interpreter import make_interpreter
from tests.slurm.cluster import Cluster
from tests.slurm.submitted import SubmitSweep
from tests.sweep.sweeps import command

NAME = "outputs"
WAIT_S = 60.0


def submit(slurm: Cluster, *options: str) -> str:
    """Submit a job that serves; return its id."""
    python = make_interpreter(Path("fake").absolute(), phase_s=0.005)
    own = ["model=default", "model.name=some/model", f"server.python={python}", "preflight=off"]
    command = shlex.join([sys.executable, "-m", "mixvllm.cli.app", "launch", *own])
    outputs = Path(NAME).absolute()
    outputs.mkdir(mode=0o700)
    array = slurm.submit(f"{NONCE_VARIABLE}=x exec {command}", "--array=0-0", *options)
    write_submission(outputs, "mini", [Array(array, 1)])
    return f"{array}_0"


def the_run() -> RunState:
    return Fleet().find_run(next(Path(NAME).glob("*/*")).name)


def test_a_run_in_a_job_is_waited_for_reached_and_stopped(slurm: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    job = submit(slurm)

    assert wait_for(NAME, "ready", WAIT_S) == 0
    assert show_url(NAME) == 0
    base = shlex.split(capsys.readouterr().out.splitlines()[-2])[1].partition("=")[2]
    assert httpx.get(f"{base}/models").status_code == 200
    show_runs(as_json=True)
    sweep, run = json.loads(capsys.readouterr().out)
    assert (sweep["run"], sweep["state"], run["state"], run["job"]["job_id"]) == (NAME, "running", "ready", job)

    assert stop([NAME], timeout_s=WAIT_S) == 0

    assert (slurm.states()[job], the_run().has_ended) == ("CANCELLED", True)
    assert not the_run().folder.endpoint.exists()


def test_a_run_in_a_job_is_shown_live_and_says_how_it_is_changed(
    slurm: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    job = submit(slurm)
    wait_for(NAME, "ready", WAIT_S)
    run = the_run()

    for names in ([], [NAME], [run.name], [job]):
        assert servers_of(names) == [run.folder.path]
    with pytest.raises(ReloadFailed, match=f"mixvllm stop {run.name}, and submit it anew"):
        reload_run(run.name, ["inference.max_num_seqs=8"])
    assert show_top(servers_of([NAME]), once=True, period_s=1.0) == 0
    assert "state=ready" in capsys.readouterr().out

    assert stop([NAME], timeout_s=WAIT_S) == 0
    assert servers_of([]) == []


def test_a_job_that_waits_has_no_server_to_show(slurm: Cluster) -> None:
    submit(slurm, "--hold")

    with pytest.raises(NoServer, match=r"has no server yet: it is pending \(JobHeldUser\)"):
        servers_of([NAME])


def test_stopping_a_run_ends_its_job(slurm: Cluster) -> None:
    job = submit(slurm)
    wait_for(NAME, "ready", WAIT_S)

    assert stop([the_run().name], timeout_s=WAIT_S) == 0

    assert slurm.states()[job] == "CANCELLED"


def test_a_job_that_waits_is_listed_with_its_reason_and_can_be_stopped(
    slurm: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(slurm, "--hold")

    show_runs()
    assert "pending (JobHeldUser)" in capsys.readouterr().out
    assert show_log(NAME) == 0
    assert wait_for(NAME, "ready", timeout_s=0) == 1
    assert stop(["last"], timeout_s=WAIT_S) == 0


def test_a_run_whose_node_was_lost_serves_no_more(slurm: Cluster) -> None:
    submit(slurm)
    wait_for(NAME, "ready", WAIT_S)
    run = the_run()
    assert run.folder.endpoint.exists()

    slurm.kill_node("n1")

    assert Fleet().look_at(run.folder).has_ended
    with pytest.raises(NotServing):
        show_url(run.name)


def test_a_sweep_is_reached_and_stopped_by_its_name(
    slurm: Cluster, submit_sweep: SubmitSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = submit_sweep("inference.tensor_parallel_size=1,2", "hydra.launcher.wait=false", command("sleep 600"))
    assert sweep.exit_code() == 0, sweep.launch.stderr
    first, *_ = sweep.wait_submitted(2)
    slurm.wait_state(first, "RUNNING")

    assert wait_for("s", "ready", WAIT_S) == 0
    capsys.readouterr()
    assert stop(["s"], timeout_s=WAIT_S) == 0

    assert capsys.readouterr().err == "stopping s: cancelling 2 jobs\n"
    assert {slurm.states()[job] for job in sweep.wait_submitted(2)} == {"CANCELLED"}
    assert (wait_for("s", "stopped"), sweep.left()) == (0, [])
