"""A sweep as it is typed: what is run, what is refused, what is shown."""

from __future__ import annotations

import csv
import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.launches import PROGRAM
from tests.sweep.sweeps import StartSweep, Sweep, command, held


def resume(sweep: Sweep, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Go on with a sweep from where it was started."""
    return resume_in(sweep.folder.path, sweep.launch.folder, *overrides)


def resume_in(path: Path, place: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Go on with the sweep at `path`, in the folder `place`."""
    program = [*PROGRAM[:-1], "resume", str(path), *overrides]
    return subprocess.run(program, cwd=place, capture_output=True, text=True, timeout=120, check=False)


def test_a_grid_is_measured_with_a_server_for_each_that_differs(start_sweep: StartSweep) -> None:
    sweep = start_sweep("inference.max_num_seqs=8,16", "workload.seed=1,2", "workload.repeats=2")

    code = sweep.exit_code()

    with sweep.folder.results_csv.open() as file:
        rows = list(csv.DictReader(file))
    assert code == 0, sweep.launch.stderr
    assert [row["answer"] for row in rows] == ["42.0"] * 12
    assert [row["verdict"] for row in rows if row["row"] == "summary"] == ["ok"] * 4
    assert len(sweep.states()) == 2
    assert "4 points on 2 servers (2 starts saved)" in sweep.launch.stderr
    assert "8/8  point 3  inference.max_num_seqs=16 workload.seed=2  repeat 2: ok" in sweep.launch.stderr
    assert sweep.left() == []


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["sweep.warm_start=auto"], "warm"),
        (["sweep.warm_start=off"], "cold"),
        (["sweep.warm_start=auto", "hydra.launcher.slots=2"], "cold"),
    ],
    ids=" ".join,
)
def test_servers_that_follow_each_other_are_forked_from_one_interpreter(
    start_sweep: StartSweep, overrides: list[str], kind: str
) -> None:
    sweep = start_sweep("inference.max_num_seqs=8,16", *overrides)

    assert sweep.exit_code() == 0, sweep.launch.stderr
    assert [record["start"]["kind"] for record in sweep.records()] == [kind] * 2
    assert sweep.left() == []


def test_more_repeats_of_a_sweep_add_to_those_that_are_done(start_sweep: StartSweep) -> None:
    first = start_sweep("workload.seed=1,2", "sweep.name=mine")
    assert first.exit_code() == 0
    before = {record["server_run"] for record in first.records()}

    again = start_sweep("workload.seed=1,2", "sweep.name=mine", "workload.repeats=2")

    assert again.exit_code() == 0
    assert "2 repeats are done already; 2 are left" in again.launch.stderr
    assert len(again.records()) == 4
    assert len({record["server_run"] for record in again.records()} - before) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+inference.no_such_flag=1,2", "no_such_flag"),
        ("inference.max_num_seqs=8,x", "must be an integer"),
        ("detach=true", "nohup"),
        ("hydra.launcher.gpus=[0,0]", "each GPU once"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(start_sweep: StartSweep, override: str, words: str) -> None:
    sweep = start_sweep(override)

    code = sweep.exit_code()

    assert (code, words in sweep.launch.stderr) == (2, True), sweep.launch.stderr
    assert sweep.states() == []


def test_a_server_that_takes_more_gpus_than_there_are_is_told_before_anything_starts(start_sweep: StartSweep) -> None:
    sweep = start_sweep("inference.tensor_parallel_size=1,4", "hydra.launcher.gpus=[0,1]")

    code = sweep.exit_code()

    assert (code, sweep.states()) == (2, [])
    assert "point 1: its server takes 4 GPUs, and 2 may be used" in sweep.launch.stderr


def test_what_this_machine_cannot_run_is_left_out_where_that_is_asked_for(start_sweep: StartSweep) -> None:
    keys = ("inference.tensor_parallel_size=1,4", "hydra.launcher.gpus=[0,1]", "sweep.skip_infeasible=true")
    sweep = start_sweep(*keys)

    code = sweep.exit_code()

    verdicts = {record["reason"]: record["verdict"] for record in sweep.records()}
    assert code == 1
    assert verdicts == {None: "ok", "infeasible: its server takes 4 GPUs, and 2 may be used": "failed"}


def test_a_preflight_that_finds_an_error_for_one_server_starts_none(start_sweep: StartSweep) -> None:
    sweep = start_sweep("inference.max_num_seqs=8,16", "preflight=strict")  # this machine has no GPU

    code = sweep.exit_code()

    assert (code, sweep.states()) == (1, [])
    assert "this machine cannot run 2 of the servers" in sweep.launch.stderr
    assert "[servers of points 0, 1]" in sweep.launch.stderr


def test_a_preflight_that_only_warns_starts_all(start_sweep: StartSweep) -> None:
    sweep = start_sweep("inference.max_num_seqs=8,16", "preflight=warn")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    assert sweep.launch.stderr.count("preflight") == 1


def test_a_point_that_fails_leaves_the_others_and_says_how_to_try_again(start_sweep: StartSweep) -> None:
    sweep = start_sweep("workload.seed=1,2,3", command("[ $MIXVLLM_SEED != 2 ] || exit 3"))

    code = sweep.exit_code()

    assert code == 1
    assert [record["verdict"] for record in sorted(sweep.records(), key=lambda one: one["seed"])] == [
        "ok",
        "failed",
        "ok",
    ]
    assert f"mixvllm resume {sweep.folder.path} sweep.rerun=failed" in sweep.launch.stderr
    assert "ended with status 3" in sweep.launch.stdout


def test_a_folder_of_options_of_ones_own_counts_for_points_and_workers(start_sweep: StartSweep, tmp_path: Path) -> None:
    own = tmp_path / "own" / "generation"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults:\n  - default\n\ntemperature: 0.25\n")
    keep = 'echo "$MIXVLLM_SAMPLING" > $MIXVLLM_RUN_DIR/sampling'

    sweep = start_sweep("generation=mine", command(keep), f"--config-dir={tmp_path / 'own'}")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    (sampling,) = sweep.folder.points.glob("*/command-0/sampling")
    assert json.loads(sampling.read_text())["temperature"] == 0.25


def test_two_launchers_do_not_run_one_sweep(start_sweep: StartSweep, tmp_path: Path) -> None:
    until_told = command(held(tmp_path / "end"))
    first = start_sweep("sweep.name=mine", until_told)
    first.wait_began()

    second = start_sweep("sweep.name=mine", until_told)

    assert second.exit_code() == 2
    assert f"is being run by process {first.launch.process.pid}" in second.launch.stderr
    (tmp_path / "end").touch()
    assert first.exit_code() == 0


def test_two_sweeps_at_once_do_not_disturb_each_other(start_sweep: StartSweep) -> None:
    keys = ("inference.max_num_seqs=8,16", "hydra.launcher.gpus=[0]", command("sleep 0.5"))
    sweeps = [start_sweep(*keys, f"sweep.name={name}", f"output_dir=outputs-{name}") for name in ("a", "b")]

    codes = [sweep.exit_code() for sweep in sweeps]

    files = [
        path for sweep in sweeps for path in sweep.launch.folder.glob("outputs-*/sweeps/*/servers/*/*/*/status.json")
    ]
    spans = sorted((status["began_at"], status["since"]) for status in map(json.loads, map(Path.read_text, files)))
    assert codes == [0, 0]
    assert len(spans) == 4
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def test_resume_does_what_is_left_with_what_was_typed(start_sweep: StartSweep) -> None:
    sweep = start_sweep("workload.seed=1,2", "sweep.rerun=all", command("[ $MIXVLLM_SEED != 2 ] || exit 3"))
    assert sweep.exit_code() == 1

    same = resume(sweep)
    more = resume(sweep, "workload.repeats=2")
    again = resume(sweep, "sweep.rerun=failed")

    assert (same.returncode, "2 repeats are done already; 0 are left" in same.stderr) == (1, True), same.stderr
    assert "2 repeats are done already; 2 are left" in more.stderr
    assert "2 repeats are done already; 2 are left" in again.stderr
    assert len(list(sweep.folder.path.parent.iterdir())) == 1


def test_resume_refuses_another_working_directory_and_a_sweep_that_was_moved(
    start_sweep: StartSweep, tmp_path: Path
) -> None:
    sweep = start_sweep("sweep.name=mine")
    assert sweep.exit_code() == 0

    elsewhere = resume_in(sweep.folder.path, tmp_path)
    moved = sweep.folder.path.rename(tmp_path / "moved")
    after_move = resume_in(moved, sweep.launch.folder)
    sweep.launch.folder.rename(tmp_path / "gone")
    gone = resume_in(moved, tmp_path)
    nothing = resume_in(tmp_path, tmp_path)

    assert [one.returncode for one in (elsewhere, after_move, gone, nothing)] == [2] * 4
    assert f"next: cd {sweep.launch.folder}" in elsewhere.stderr
    assert "move it back" in after_move.stderr
    assert "which is gone" in gone.stderr
    assert "not the folder of a sweep" in nothing.stderr
