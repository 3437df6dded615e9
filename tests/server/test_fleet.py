"""A run's state is what its record says, unless its processes say otherwise."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import alone_with, find_run, look_at, look_at_all
from mixvllm.server.processes import ProcessId, identify
from tests.written_runs import DEAD, SLEEP, Processes, ago, role, write_processes, write_run, write_status

ELSEWHERE = {"host": "elsewhere", "boot_id": "another"}


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.end()


def own() -> ProcessId:
    process = identify(os.getpid())
    assert process is not None
    return process


@pytest.mark.parametrize("state", ["starting", "ready", "draining", "hung", "stopped", "failed"])
def test_the_record_of_a_run_whose_launcher_lives_is_believed(state: str) -> None:
    run = write_run("a", state=state, supervisor=role(own()), guardian=role(DEAD))

    assert look_at(run).state == state


@pytest.mark.parametrize("state", ["starting", "ready", "draining", "hung"])
def test_a_run_is_lost_when_launcher_and_guardian_are_gone(state: str) -> None:
    run = write_run("a", state=state, supervisor=role(DEAD), guardian=role(DEAD))

    seen = look_at(run)

    assert (seen.state, seen.cause, seen.has_ended) == ("lost", "launcher and guardian were killed", True)


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_run_that_has_ended_in_good_order_is_not_lost(state: str) -> None:
    run = write_run("a", state=state, supervisor=role(DEAD), guardian=role(DEAD))

    assert look_at(run).state == state


def test_a_launcher_whose_number_is_another_programs_now_is_gone() -> None:
    earlier = ProcessId(own().pid, own().start_ticks - 1)
    run = write_run("a", state="ready", supervisor=role(earlier), guardian=role(earlier))

    assert look_at(run).state == "lost"


def test_a_guardian_alone_drains() -> None:
    run = write_run("a", state="ready", supervisor=role(DEAD), guardian=role(own()))

    seen = look_at(run)

    assert (seen.state, seen.cause) == ("draining", "the launcher was killed; its guardian stops the server")


def test_the_processes_of_a_lost_run_are_counted(processes: Processes) -> None:
    run = write_run("a", state="ready", supervisor=role(DEAD), guardian=role(DEAD))
    write_processes(run, DEAD, [processes.start(SLEEP), processes.start(SLEEP)])

    assert look_at(run).num_orphans == 2


def test_a_run_from_before_the_machine_was_started_anew_is_lost_whatever_has_its_numbers_now() -> None:
    run = write_run("a", state="ready", boot_id="earlier", supervisor=role(own()), guardian=role(own()))
    write_processes(run, own(), boot="earlier")

    seen = look_at(run)

    assert (seen.state, seen.cause, seen.supervisor) == ("lost", "the machine was started anew while it ran", None)
    assert seen.num_orphans == 0


def test_the_record_of_a_run_on_another_machine_is_believed_and_its_numbers_mean_nothing() -> None:
    run = write_run("a", state="ready", supervisor=role(own()), **ELSEWHERE)

    seen = look_at(run)

    assert (seen.state, seen.is_remote, seen.host, seen.supervisor) == ("ready", True, "elsewhere", None)


def test_a_run_without_a_record_is_starting_at_first() -> None:
    assert look_at(write_run("a")).state == "starting"


def test_a_run_without_a_record_is_lost_after_a_while() -> None:
    run = write_run("a")
    os.utime(run.path, (0, 0))

    seen = look_at(run)

    assert (seen.state, seen.cause) == ("lost", "nothing was recorded: the launcher ended before it started a server")


@pytest.mark.parametrize(
    "status",
    [
        {"state": None},
        {"state": ["ready"]},
        {"supervisor": 7},
        {"supervisor": {"pid": "7", "start_ticks": None}},
        {"supervisor": {"pid": -1, "start_ticks": 1}},
        {"since": "yesterday", "phase": 3, "cause": {"a": 1}, "failure": "x", "url": []},
        {"host": None},
    ],
    ids=str,
)
def test_a_record_that_is_wrong_is_no_fault(status: dict[str, Any]) -> None:
    run = write_run("a", **status)
    write_json(run.processes, {"boot_id": None, "known": {"a": 1}})

    seen = look_at(run)

    assert (seen.name, isinstance(seen.host, str), seen.num_orphans) == ("a", True, 0)


@pytest.mark.parametrize("known", [None, {"a": 1}, [1, [2], ["a", "b"], [3, 4, 5], None]], ids=str)
def test_processes_that_are_recorded_wrongly_are_none(known: object) -> None:
    run = write_run("a", state="ready", supervisor=role(DEAD))
    write_processes(run, DEAD)
    write_json(run.processes, json.loads(run.processes.read_text()) | {"known": known})

    assert look_at(run).num_orphans == 0


@pytest.mark.parametrize("change", [lambda run: run.status.chmod(0o666), lambda run: run.path.chmod(0o770)])
def test_a_record_that_others_can_write_is_not_believed(change: Callable[[RunFolder], None]) -> None:
    run = write_run("a", state="ready", supervisor=role(own()))
    change(run)

    seen = look_at(run)

    assert (seen.state, seen.supervisor, "can be written by" in str(seen.cause)) == ("unreadable", None, True)


def test_processes_that_others_could_have_named_are_not_believed() -> None:
    run = write_run("a", state="ready", supervisor=role(DEAD), guardian=role(DEAD))
    write_processes(run, own())
    run.processes.chmod(0o666)

    assert look_at(run).num_orphans == 0


def test_a_record_that_is_broken_is_not_taken_for_a_start() -> None:
    run = write_run("a", state="ready")
    run.status.write_text("{")

    assert look_at(run).state == "unreadable"


def test_a_cause_is_one_line() -> None:
    run = write_run("a", state="failed", cause="out of memory\n  log: …")

    assert look_at(run).cause == "out of memory"


def test_a_lost_run_ended_when_it_was_last_heard_of() -> None:
    run = write_run("a", state="ready", since=ago(days=9), supervisor=role(DEAD), guardian=role(DEAD))
    run.server_log.touch()
    for path in (run.status, run.path):
        os.utime(path, (0, 0))
    os.utime(run.server_log, (5000, 5000))

    ended_at = look_at(run).ended_at

    assert ended_at is not None
    assert ended_at.timestamp() == 5000


def test_all_runs_are_seen_newest_first() -> None:
    for name in ("a", "b"):
        write_run(name, state="stopped")

    assert [state.name for state in look_at_all()] == ["b", "a"]


def test_a_models_name_means_the_run_that_truly_lives() -> None:
    living = write_run("a", state="ready", supervisor=role(own()))
    write_run("b", state="ready", supervisor=role(DEAD), guardian=role(DEAD))

    assert find_run("some/model").folder == living


def test_a_run_that_ends_while_it_is_looked_at_is_not_lost() -> None:
    """Its launcher writes the record before it goes, so that the record is right when it is read once more."""
    run = write_run("a")
    seen = set()
    for _ in range(100):
        launcher = start_launcher(run)
        while (state := look_at(run).state) != "stopped":
            seen.add(state)
        os.waitpid(launcher, 0)

    assert seen <= {"ready"}


def start_launcher(run: RunFolder) -> int:
    """Start a process that stands for the launcher of `run` and soon records its end; return its number."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)  # until the record says that it serves
        write_status(run, state="stopped", supervisor=role(own()))
        os._exit(0)
    launcher = identify(pid)
    assert launcher is not None
    write_status(run, state="ready", supervisor=role(launcher))
    for descriptor in (writer, reader):
        os.close(descriptor)
    return pid


def test_two_commands_are_not_alone_with_a_run_at_once() -> None:
    run = write_run("a")
    order: list[str] = []

    def other() -> None:
        with alone_with(run):
            order.append("other")

    thread = threading.Thread(target=other)
    with alone_with(run):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()

    assert order == ["first", "other"]


def test_the_lock_of_a_folder_that_is_gone_holds_up_nobody() -> None:
    run = write_run("a")
    run.path.rmdir()

    with alone_with(run):
        pass
