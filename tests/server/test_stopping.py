"""Runs of other launchers are stopped by whoever looks after them, once, however often it is asked for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import RunState, look_at
from mixvllm.server.processes import ProcessId, is_alive, send_signal
from mixvllm.server.stopping import NotStoppable, stop_runs
from tests.written_runs import (
    DEAD,
    SLEEP,
    SUPERVISOR,
    Processes,
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


def abandoned_run(processes: Processes) -> tuple[RunFolder, ProcessId]:
    run, server = write_run("a", state="ready", supervisor=role(DEAD), guardian=role(DEAD)), processes.start(SLEEP)
    write_processes(run, server)
    return run, server


def states_of(states: list[RunState]) -> list[str]:
    return [state.state for state in states]


def test_a_run_is_stopped_by_its_launcher(processes: Processes) -> None:
    run = supervised_run(processes, "a")

    states = stop_runs([run])

    assert (states_of(states), num_asked(run)) == (["stopped"], 1)


def test_several_runs_are_stopped_together(processes: Processes) -> None:
    runs = [supervised_run(processes, name) for name in ("a", "b")]

    assert states_of(stop_runs(runs)) == ["stopped", "stopped"]


def test_a_stop_waits_for_the_processes_of_the_server(processes: Processes) -> None:
    run, server = supervised_run(processes, "a"), processes.start(SLEEP)
    write_processes(run, server)
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend(states_of(stop_runs([run]))))
    thread.start()
    wait_for(lambda: look_at(run).state == "stopped")
    before = list(seen)
    processes.kill(server)
    thread.join()

    assert (before, seen) == ([], ["stopped"])


def test_commands_that_stop_a_run_at_once_ask_its_launcher_once(processes: Processes) -> None:
    run = supervised_run(processes, "a", drain_s=1.0)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.extend(states_of(stop_runs([run])))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (seen, num_asked(run)) == (["stopped"] * 4, 1)


def test_a_run_that_drains_is_not_asked_again(processes: Processes) -> None:
    run = supervised_run(processes, "a", drain_s=1.0)
    stop_runs([run], timeout_s=0)
    wait_for(lambda: look_at(run).state != "ready")

    stop_runs([run])

    assert num_asked(run) == 1


def test_a_forced_stop_asks_again_so_that_nothing_is_waited_for(processes: Processes) -> None:
    run = supervised_run(processes, "a", drain_s=600)

    states = stop_runs([run], is_forced=True)

    assert (states_of(states), num_asked(run) > 1) == (["stopped"], True)


def test_a_stop_that_takes_too_long_tells_what_it_is_at(processes: Processes) -> None:
    run = supervised_run(processes, "a", drain_s=600)
    stop_runs([run], timeout_s=0)
    wait_for(lambda: look_at(run).state != "ready")

    assert states_of(stop_runs([run], timeout_s=0.2)) == ["draining"]


def test_a_run_that_has_ended_is_left_as_it_is() -> None:
    run = write_run("a", state="stopped", supervisor=role(DEAD))
    before = run.status.read_bytes()

    stop_runs([run])

    assert run.status.read_bytes() == before


def test_a_guardian_alone_is_waited_for_and_not_disturbed(processes: Processes) -> None:
    guardian = processes.start(SLEEP)
    run = write_run("a", state="ready", supervisor=role(DEAD), guardian=role(guardian))

    states = stop_runs([run], timeout_s=0.3)

    assert (states_of(states), is_alive(guardian)) == (["draining"], True)


def test_a_guardian_alone_is_hurried_by_a_forced_stop(processes: Processes) -> None:
    guardian = processes.start(SLEEP)
    run = write_run("a", state="ready", supervisor=role(DEAD), guardian=role(guardian))

    states = stop_runs([run], is_forced=True)

    assert (states_of(states), is_alive(guardian)) == (["failed"], False)


def test_what_nobody_looks_after_is_ended(processes: Processes) -> None:
    run, server = abandoned_run(processes)

    states = stop_runs([run])

    assert (states_of(states), is_alive(server)) == (["failed"], False)


def test_what_is_left_of_a_run_that_has_ended_is_ended(processes: Processes) -> None:
    server = processes.start(SLEEP)
    run = write_run("a", state="stopped", supervisor=role(DEAD), guardian=role(DEAD))
    write_processes(run, server)

    states = stop_runs([run])

    assert (states_of(states), is_alive(server)) == (["stopped"], False)


def test_a_run_whose_launcher_and_guardian_die_meanwhile_is_ended_all_the_same(processes: Processes) -> None:
    run, server = supervised_run(processes, "a", drain_s=600), processes.start(SLEEP)
    write_processes(run, server)
    supervisor = look_at(run).supervisor
    assert supervisor is not None
    thread = threading.Thread(target=stop_runs, args=([run],))
    thread.start()
    wait_for(lambda: look_at(run).state == "draining")
    send_signal(supervisor, signal.SIGKILL)
    thread.join()

    assert (look_at(run).state, is_alive(server)) == ("failed", False)


def test_a_run_of_another_machine_is_refused_and_no_other_is_touched(processes: Processes) -> None:
    here, there = supervised_run(processes, "a"), write_run("b", state="ready", host="elsewhere")

    with pytest.raises(NotStoppable) as caught:
        stop_runs([here, there])

    assert str(caught.value) == "b: it runs on elsewhere, not here\n  next: ssh elsewhere mixvllm stop b"
    assert look_at(here).state == "ready"


def test_a_run_whose_launcher_is_not_known_is_refused() -> None:
    with pytest.raises(NotStoppable, match="does not name its launcher"):
        stop_runs([write_run("a", state="starting")])


def test_a_run_whose_record_others_can_write_is_refused(processes: Processes) -> None:
    run = supervised_run(processes, "a")
    run.status.chmod(0o666)

    with pytest.raises(NotStoppable, match="can be written by everybody"):
        stop_runs([run])


def test_the_launcher_of_an_earlier_run_is_not_told_twice(processes: Processes) -> None:
    """Where one launcher has run after run, the end of an earlier one is no reason to signal it."""
    supervisor = processes.start(SUPERVISOR, str(write_run("b").path), "600")
    run = write_run("a", state="stopped", supervisor=role(supervisor))

    stop_runs([run], is_forced=True)

    assert is_alive(supervisor)
