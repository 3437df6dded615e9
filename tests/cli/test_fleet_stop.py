"""Stopping runs from another terminal, and finding what runs left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixvllm.cli.fleet.doctor import Finding, examine, foreign, orphans_in_words, treat
from mixvllm.cli.fleet.stop import stop
from mixvllm.errors import ConfigError, MixvllmError
from mixvllm.machine.folders import private_tmp
from mixvllm.machine.gpus import Gpu, GpuProcess
from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import look_at
from mixvllm.server.orphans import find_orphans
from mixvllm.server.processes import ProcessId, is_alive, send_signal
from tests.written_runs import (
    DEAD,
    SLEEP,
    Processes,
    ago,
    num_asked,
    role,
    supervised_run,
    wait_for,
    write_processes,
    write_run,
)


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.end()


@pytest.fixture(autouse=True)
def tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep away from the temporary folders of servers and jobs that others run on this machine."""
    with tempfile.TemporaryDirectory(prefix="mx", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield private_tmp()


def lost(name: str = "a", **status: Any) -> RunFolder:
    return write_run(name, **{"state": "ready", "supervisor": role(DEAD), "guardian": role(DEAD), **status})


def abandoned(processes: Processes, name: str = "a", **status: Any) -> tuple[RunFolder, ProcessId]:
    run, server = lost(name, **status), processes.start(SLEEP)
    write_processes(run, server)
    return run, server


def test_the_last_run_is_stopped_unless_another_is_named(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = supervised_run(processes, "first"), supervised_run(processes, "last-one")

    code = stop([])

    shown = capsys.readouterr()
    assert (code, look_at(first).state, shown.out) == (0, "ready", "last-one was stopped\n")
    assert (look_at(last).state, shown.err) == ("stopped", "stopping last-one; requests in flight finish first\n")


def test_named_runs_are_stopped_each_once(processes: Processes) -> None:
    runs = [supervised_run(processes, name) for name in ("one", "two", "three")]

    code = stop(["one", "two", "one"])

    assert (code, [look_at(run).state for run in runs]) == (0, ["stopped", "stopped", "ready"])
    assert num_asked(runs[0]) == 1


def test_all_are_those_of_this_machine_that_live(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    run = supervised_run(processes, "one")
    abandoned_run, server = abandoned(processes, "two")
    write_run("three", state="stopped")
    write_run("four", state="ready", host="elsewhere")

    code = stop([], everything=True)

    assert (code, [look_at(each).state for each in (run, abandoned_run)]) == (0, ["stopped", "failed"])
    assert (is_alive(server), "four runs on elsewhere" in capsys.readouterr().err) == (False, True)


def test_where_nothing_lives_there_is_nothing_to_stop(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a", state="stopped")

    assert (stop([], everything=True), capsys.readouterr().out) == (0, "no run is left to stop\n")


def test_stopping_what_has_ended_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a", state="stopped")

    assert (stop(["a"]), capsys.readouterr().out) == (0, "a was stopped\n")


def test_stopping_a_lost_run_records_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    run = lost()

    code = stop(["a"])

    assert (code, json.loads(run.status.read_text())["state"]) == (0, "failed")
    assert capsys.readouterr().err == "ending what is left of a: launcher and guardian were killed\n"


def test_now_gives_up_requests_in_flight(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    run = supervised_run(processes, "a", drain_s=600)

    code = stop(["a"], is_forced=True)

    assert (code, num_asked(run) > 1, capsys.readouterr().err) == (0, True, "stopping a\n")


def test_a_stop_that_takes_too_long_says_what_lives_and_what_next(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    run, server = supervised_run(processes, "a", drain_s=600), processes.start(SLEEP)
    write_processes(run, server)
    supervisor = look_at(run).supervisor
    assert supervisor is not None
    send_signal(supervisor, signal.SIGTERM)
    wait_for(lambda: look_at(run).state == "draining")

    code = stop(["a"], timeout_s=0.2)

    lines = capsys.readouterr().err.splitlines()
    assert (code, lines[1].startswith(f"error: a is still draining; alive: {server.pid} (")) == (1, True)
    assert lines[2] == (
        "  next: mixvllm stop a --now; where its launcher does not react: "
        f"kill -9 {supervisor.pid}, and its guardian ends the server"
    )


def test_a_run_of_another_machine_is_refused() -> None:
    write_run("a", state="ready", host="elsewhere")

    with pytest.raises(MixvllmError, match="ssh elsewhere mixvllm stop a"):
        stop(["a"])


def test_names_and_all_are_refused_together() -> None:
    with pytest.raises(ConfigError):
        stop(["a"], everything=True)


def test_ctrl_c_leaves_a_stop_to_the_launcher(processes: Processes) -> None:
    """The command only asks: whoever supervises goes on stopping without it."""
    run = supervised_run(processes, "a", drain_s=0.5)
    command = "import sys; from mixvllm.cli.fleet.stop import stop; sys.exit(stop(['a']))"
    process = subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.readline()
    while look_at(run).state == "ready":
        pass
    process.kill()
    process.communicate()

    assert stop(["a"]) == 0


def test_where_nothing_is_left_doctor_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert (examine(), capsys.readouterr().out) == (0, "nothing of ours is left\n")


def test_doctor_leaves_what_lives_and_what_is_elsewhere_alone(
    processes: Processes, capsys: pytest.CaptureFixture[str], tmp: Path
) -> None:
    folder = tmp / "a"
    folder.mkdir()
    run = supervised_run(processes, "a", tmp_dir=str(folder))
    elsewhere = write_run("b", state="stopped", host="elsewhere")
    for each in (run, elsewhere):
        each.endpoint.touch()

    code = examine(end=True)

    assert (code, capsys.readouterr().out) == (0, "nothing of ours is left\n")
    assert (look_at(run).state, run.endpoint.exists(), elsewhere.endpoint.exists()) == ("ready", True, True)
    assert folder.exists()


def everything_left(processes: Processes, tmp: Path) -> tuple[RunFolder, ProcessId, RunFolder, Path]:
    """Leave something of every kind."""
    run, server = abandoned(processes, "a")
    lost("b", boot_id="earlier", began_at=ago(days=1))
    ended, folder = write_run("c", state="stopped", tmp_dir=str(tmp / "c")), tmp / "c"
    folder.mkdir()
    ended.endpoint.touch()
    return run, server, ended, folder


def test_doctor_names_everything_that_is_left_and_touches_nothing(
    processes: Processes, capsys: pytest.CaptureFixture[str], tmp: Path
) -> None:
    run, server, ended, folder = everything_left(processes, tmp)

    code = examine()

    lines = capsys.readouterr().out.splitlines()
    assert (code, lines[0].startswith("orphans of a: 1 alive, 0.0 GiB of memory")) == (1, True)
    assert lines[1].startswith(f"  {server.pid} (python")
    assert lines[2:] == [
        "b is lost: the machine was started anew while it ran; nothing of it runs, and its record says otherwise",
        f"temporary folder {folder}: its server is gone",
        f"{ended.endpoint}: nothing answers there any more",
        "  next: mixvllm doctor --end ends and removes it",
    ]
    assert (is_alive(server), folder.exists(), ended.endpoint.exists(), look_at(run).state) == (
        True,
        True,
        True,
        "lost",
    )


def test_doctor_ends_everything_that_is_left(
    processes: Processes, capsys: pytest.CaptureFixture[str], tmp: Path
) -> None:
    run, server, ended, folder = everything_left(processes, tmp)

    code = examine(end=True)

    lines = capsys.readouterr().out.splitlines()
    assert (code, lines.count("  ended"), lines[-1]) == (0, 4, "nothing of ours is left any more")
    assert (is_alive(server), folder.exists(), ended.endpoint.exists(), look_at(run).state) == (
        False,
        False,
        False,
        "failed",
    )
    assert (examine(), capsys.readouterr().out) == (0, "nothing of ours is left\n")


def test_doctor_ends_the_folder_of_a_killed_job(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"mx{os.getuid()}-17-"))

    assert examine() == 1
    assert f"temporary folder {folder}: its job was killed" in capsys.readouterr().out
    assert examine(end=True) == 0
    assert not folder.exists()


def test_what_cannot_be_ended_stays_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    stays = treat(Finding("a folder", lambda: "/tmp/a"), end=True)

    assert (stays, capsys.readouterr().out) == (True, "a folder\n  left: /tmp/a\n")


def test_memory_of_gpus_that_orphans_hold_is_told(processes: Processes) -> None:
    run, server = abandoned(processes)
    gpus = [Gpu(1, "H100", 80.0, 10.0, (9, 0), processes=(GpuProcess(server.pid, "VLLM::EngineCore", 70.0),))]

    (finding,) = orphans_in_words(find_orphans([run]), gpus)

    assert finding.words.splitlines()[0].endswith(" GiB of memory, 70.0 GiB of GPU 1")


def test_processes_on_gpus_that_are_not_ours_are_told_and_left_alone(processes: Processes) -> None:
    (run, server), (lost_run, orphan) = abandoned(processes, "a"), abandoned(processes, "b")
    holders = (
        GpuProcess(server.pid, "VLLM::EngineCore", 1.0),
        GpuProcess(orphan.pid, "VLLM::EngineCore", 1.0),
        GpuProcess(4121, "python", 12.34),
        GpuProcess(4122, "VLLM::Worker", 5.0, is_orphan=True),
    )

    lines = list(
        foreign([Gpu(0, "L4", 24.0, 1.0, (8, 9), processes=holders)], [look_at(run)], find_orphans([lost_run]))
    )

    assert lines == [
        "process 4121 (python) holds 12.3 GiB of GPU 0: not of a run of ours; it is left alone",
        "process 4122 (VLLM::Worker) holds 5.0 GiB of GPU 0: an engine of vLLM without its server; it is left alone",
    ]
