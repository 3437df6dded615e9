"""A sweep that is stopped, or killed at any moment, keeps what is done, leaves nothing running, and goes on."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.sweep.sweeps import SECOND, StartSweep, command, held, kill_when_alive
from tests.sweep.test_multirun import resume
from tests.written_runs import wait_for

NUM_KILLS = 20


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(start_sweep: StartSweep, tmp_path: Path) -> None:
    load = command(f"if {SECOND}; then {held(tmp_path / 'gate')}; fi")
    sweep = start_sweep("inference.max_num_seqs=8,16", "workload.repeats=2", load)
    sweep.wait_records(1)
    sweep.note()
    sweep.interrupt()

    code = sweep.exit_code()

    done = len(sweep.records())
    assert (code, sweep.left()) == (130, [])
    assert 1 <= done < 4
    assert f"stopped; what is done is kept. To go on: mixvllm resume {sweep.folder.path}" in sweep.launch.stderr
    (tmp_path / "gate").touch()
    assert resume(sweep).returncode == 0
    assert [record["verdict"] for record in sweep.records()] == ["ok"] * 4
    assert len(list(sweep.folder.path.parent.iterdir())) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_it_as_well(start_sweep: StartSweep, number: signal.Signals) -> None:
    sweep = start_sweep(command("sleep 20"))
    sweep.wait_began()
    sweep.note()
    sweep.launch.process.send_signal(number)

    assert (sweep.exit_code(), sweep.left()) == (128 + number, [])


def test_a_second_ctrl_c_does_not_wait_for_servers_that_do_not_stop(start_sweep: StartSweep) -> None:
    sweep = start_sweep("server.drain_timeout_s=100", command("sleep 20"), hang_on_term=True)
    sweep.wait_began()
    sweep.note()
    sweep.interrupt()
    sweep.launch.wait_for(lambda: "draining" in sweep.states())
    sweep.interrupt()

    began = time.monotonic()
    code = sweep.exit_code()

    assert (code, sweep.left()) == (130, [])
    assert time.monotonic() - began < 50  # of the 100 s that it would get


def test_ctrl_c_while_a_server_loads_ends_it(start_sweep: StartSweep) -> None:
    sweep = start_sweep("inference.max_num_seqs=8,16", hang_in="weights")
    sweep.launch.wait_for(lambda: "starting" in sweep.states())
    sweep.note()
    sweep.interrupt()

    assert (sweep.exit_code(), sweep.records(), sweep.left()) == (130, [], [])


def test_nothing_is_left_of_a_launcher_that_is_killed(start_sweep: StartSweep) -> None:
    sweep = start_sweep("inference.max_num_seqs=8,16", "hydra.launcher.slots=2", command("sleep 60"), num_workers=2)
    sweep.launch.wait_for(lambda: sweep.states().count("ready") == 2)
    workers = sweep.workers()
    sweep.kill()

    wait_for(lambda: not sweep.left())

    assert len(workers) == 2
    assert set(sweep.states()) == {"stopped"}
    assert sweep.records() == []


def test_nothing_is_left_where_launcher_and_workers_are_killed(start_sweep: StartSweep) -> None:
    sweep = start_sweep(command("sleep 60"), num_workers=2)
    sweep.launch.wait_for(lambda: "ready" in sweep.states())
    (worker,) = sweep.workers()
    sweep.note()
    kill_when_alive(worker)
    sweep.launch.process.kill()

    wait_for(lambda: not sweep.left())

    assert set(sweep.states()) == {"failed"}


def test_a_launcher_waits_for_what_the_one_before_it_has_left(start_sweep: StartSweep) -> None:
    keys = ("sweep.name=mine", "server.drain_timeout_s=20")
    first = start_sweep(*keys, command("sleep 60"), stop_s=1)
    first.launch.wait_for(lambda: "ready" in first.states())
    (worker,) = first.workers()
    kill_when_alive(worker, signal.SIGSTOP)  # it has not stopped its server before the next launcher looks
    first.kill()

    second = start_sweep(*keys, command("sleep 60"), "workload.seed=5", stop_s=1)
    words = "waiting until what the launcher before this one has left"
    second.launch.wait_for(lambda: words in second.launch.stderr)
    kill_when_alive(worker, signal.SIGCONT)
    second.launch.wait_for(lambda: len(second.states()) == 2)

    assert second.states().count("stopped") == 1


def test_a_sweep_that_is_killed_again_and_again_ends_like_one_that_was_not(start_sweep: StartSweep) -> None:
    moments = random.Random(7)  # noqa: S311
    keys = ("inference.max_num_seqs=8,16", "workload.seed=1,2", "workload.repeats=8", "sweep.name=mine")
    num_done = []
    for _ in range(NUM_KILLS):
        sweep = start_sweep(*keys, command("sleep 0.05"))
        end = time.monotonic() + moments.uniform(0.2, 6)
        sweep.launch.wait_for(lambda end=end, sweep=sweep: time.monotonic() > end)
        sweep.kill()
        num_done.append(len(sweep.records()))

    last = start_sweep(*keys, command("sleep 0.05"))

    assert last.exit_code() == 0, last.launch.stderr
    records = last.records()
    found = sorted((record["point"], record["repeat"], record["verdict"], record["seed"]) for record in records)
    points = {point for point, *_ in found}
    seeds = {point: min(seed for other, _, _, seed in found if other == point) for point in points}
    assert len(points) == 4
    assert found == sorted((point, k + 1, "ok", seeds[point] + k) for point in points for k in range(8))
    assert num_done == sorted(num_done)
    assert last.left() == []
