"""A search as a user runs it, on servers of the fake, for a program whose numbers follow from the point."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launches import Launch, Run

PROGRAM = """\
import json, os, pathlib, time
own, notes = pathlib.Path(os.environ["MIXVLLM_RUN_DIR"]), pathlib.Path(os.environ["NOTES"])
seqs = json.loads((own.parent / "point.json").read_text())["config"]["inference"]["max_num_seqs"]
with (notes / "begun").open("a") as begun:
    begun.write(f"{seqs}\\n")
while (notes / "wait").exists():
    time.sleep(0.02)
(own / "metrics.json").write_text(json.dumps({"speed": 1000 - (seqs - 32) ** 2, "delay_ms": seqs}))
"""
SPEED = "sweep.objective={speed: maximize}"
SEQS = "inference.max_num_seqs=8,16,32,64"

_DEADLINE_S = 180.0

Search = Callable[..., Launch]


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the program notes what it measures; while it holds `wait`, no measurement ends."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("NOTES", str(folder))
    return folder


@pytest.fixture
def patient_run(run: Run) -> Run:
    """Return `run` with a deadline for launches that start several servers, one after the other."""

    def start(*arguments: str, **script: Any) -> Launch:
        one = run(*arguments, **script)
        one.deadline_s = _DEADLINE_S
        return one

    return start


@pytest.fixture
def search(patient_run: Run, notes: Path) -> Search:
    """Return a function that starts a search; `after` is one that it goes on with."""

    def start(*overrides: str, after: Launch | None = None, **script: Any) -> Launch:
        command = f"workload.command=['{sys.executable}','{notes / 'program.py'}']"
        place = [f"output_dir={after.folder}/outputs", f"server.python={after.folder}/fake/python"] if after else []
        fixed = ["sweep.search=optuna", "sweep.name=mine", "workload=command", command, "workload.repeats=1"]
        return patient_run("--multirun", *fixed, *place, *overrides, **script)

    return start


def begun(notes: Path) -> list[int]:
    """Return what was measured, in order."""
    file = notes / "begun"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def folder(one: Launch) -> Path:
    return one.folder / "outputs" / "sweeps" / "mine"


def test_a_search_shows_the_best_point_first(search: Search, notes: Path) -> None:
    one = search(SPEED, "inference.max_num_seqs=16,32,64")

    assert one.exit_code() == 0, one.stderr
    assert sorted(begun(notes)) == [16, 32, 64]
    lines = one.stdout.splitlines()
    assert lines[:2] == ["3 trials of 3 points: 3 measured", "the best:"]
    rows = [line.split()[1:] for line in lines[3:6]]
    assert rows == [["32", "1/1", "1,000"], ["16", "1/1", "744.0"], ["64", "1/1", "-24.00"]]
    assert one.living() == []


def test_a_search_for_several_objectives_shows_their_front(search: Search) -> None:
    one = search("sweep.objective={speed: maximize, delay_ms: minimize}", "inference.max_num_seqs=32,64")

    assert one.exit_code() == 0, one.stderr
    lines = one.stdout.splitlines()
    assert lines[1] == "those that no other one beats in all objectives:"
    assert (lines[3].split()[1:], lines[4]) == (["32", "1/1", "1,000", "32.00"], "")
    with (folder(one) / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["inference.max_num_seqs"] for row in rows if row["row"] == "summary"} == {"32", "64"}


def test_a_point_that_cannot_be_is_pruned_and_told(search: Search, notes: Path) -> None:
    one = search(SPEED, "inference.max_num_seqs=16,64", "inference.max_num_batched_tokens=32")

    assert (one.exit_code(), begun(notes)) == (0, [16])
    assert one.stdout.splitlines()[0] == "2 trials of 2 points: 1 measured, 1 pruned"
    assert "(inference.max_num_seqs=64): not valid: inference.max_num_batched_tokens=32: must be at least" in one.stdout


def test_a_server_that_does_not_start_is_pruned(search: Search, notes: Path) -> None:
    one = search(SPEED, "inference.max_num_seqs=16,64", "sweep.num_trials=1", die_in="weights")

    assert (one.exit_code(), begun(notes)) == (1, [])
    assert one.stdout.splitlines()[:2] == ["1 trial of 2 points: 0 measured, 1 pruned", "no trial has values"]


def test_servers_that_need_more_than_one_that_failed_for_memory_are_not_tried(search: Search, notes: Path) -> None:
    log = Path(__file__).parents[1] / "vllm" / "failures" / "logs" / "kv_below_length.log"
    lengths = ("inference.max_model_len=1024,2048,4096,8192", "inference.enforce_eager=true")
    one = search(SPEED, *lengths, die_in="kv_cache", die_log_file=str(log))

    assert (one.exit_code(), begun(notes)) == (1, [])
    assert one.stdout.splitlines()[0] == "4 trials of 4 points: 0 measured, 4 pruned"
    num_started = len(list(folder(one).glob("servers/*/*/*/status.json")))
    num_left_out = sum("infeasible: point" in line for line in one.stdout.splitlines())
    assert (num_started + num_left_out, num_left_out > 0) == (4, True), one.stdout


def test_a_search_goes_on_with_more_trials(search: Search, notes: Path) -> None:
    one = search(SPEED, SEQS, "sweep.num_trials=1")
    assert one.exit_code() == 0, one.stderr
    first = begun(notes)
    two = search(SPEED, SEQS, "sweep.num_trials=3", after=one)

    assert (two.exit_code(), len(first), len(set(begun(notes)))) == (0, 1, 3), two.stderr
    assert begun(notes)[:1] == first
    assert two.stdout.startswith("3 trials of 4 points: 3 measured\n")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_search_that_was_stopped_goes_on_with_the_trial_that_it_was_at(
    search: Search, notes: Path, number: int, exit_code: int
) -> None:
    (notes / "wait").touch()
    one = search(SPEED, SEQS, "sweep.num_trials=2")
    one.wait_for(lambda: begun(notes))
    os.kill(one.process.pid, number)
    assert one.exit_code() == exit_code
    one.wait_for(lambda: not one.living())
    (notes / "wait").unlink()
    two = search(SPEED, SEQS, "sweep.num_trials=2", after=one)

    assert two.exit_code() == 0, two.stderr
    measured = begun(notes)
    assert (measured[0], len(measured), len(set(measured))) == (measured[1], 3, 2)


def test_an_objective_that_is_not_measured_ends_the_search(search: Search, notes: Path) -> None:
    one = search("sweep.objective={sped: maximize}", SEQS)

    assert (one.exit_code(), len(begun(notes))) == (2, 1)
    assert "sweep.objective=sped: no such metric was measured; there are delay_ms, speed" in one.stderr


def test_a_dry_run_shows_the_space_and_starts_nothing(search: Search, notes: Path) -> None:
    one = search(SPEED, SEQS, "inference.seed=range(1,4)", "sweep.num_trials=5", "sweep.budget_min=30", "dry_run=true")

    assert (one.exit_code(), begun(notes), folder(one).exists()) == (0, [], False)
    assert one.stdout.splitlines() == [
        "maximize speed: 5 trials of 12 points, for 30 min at the most",
        "  inference.max_num_seqs: 8, 16, 32, 64",
        "  inference.seed: 1, 2, 3",
    ]


def test_a_file_may_ask_for_a_search(patient_run: Run, notes: Path, tmp_path: Path) -> None:
    experiments = tmp_path / "mine" / "experiment"
    experiments.mkdir(parents=True)
    command = json.dumps([sys.executable, str(notes / "program.py")])
    experiments.joinpath("mine.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /workload: command\n"
        f"workload: {{command: {command}, repeats: 1}}\n"
        "sweep: {search: optuna, objective: {speed: maximize}, num_trials: 1}\n"
    )

    one = patient_run("--multirun", "--config-dir", str(tmp_path / "mine"), "experiment=mine", SEQS)

    assert one.exit_code() == 0, one.stderr
    assert one.stdout.startswith("1 trial of 4 points: 1 measured\n")
