"""Results of vLLM's own benchmarks as points. The recorded ones were written by 0.32.0 on the CPU engine.

`sweep` is a whole run of `vllm bench sweep serve` and of `serve_workload`, where requests of 4,000 tokens were too long
for the server; in `died` the server was killed meanwhile; `single` is from `vllm bench serve`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import ConfigError
from mixvllm.report.compare import compare
from mixvllm.report.read import read_studies
from mixvllm.report.study import Study

RECORDED = Path(__file__).parent / "vllm_bench"
KEYS = ("inference.max_num_seqs", "workload.max_concurrency", "workload.random_input_len")


def one_result() -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RECORDED / "single" / "one.json").read_text())
    return result


def read_results(folder: Path, *results: dict[str, Any]) -> Study:
    """Return the study of a folder with a file for each result."""
    for number, result in enumerate(results):
        (folder / f"{number}.json").write_text(json.dumps(result))
    return read_studies([folder])


def test_a_sweep_has_its_parameters_its_repeats_and_its_metrics() -> None:
    study = read_studies([RECORDED / "sweep" / "grid"])

    found = {tuple(point.value(key) for key in KEYS): (point.verdict, point.num_ok) for point in study.points}
    assert found == {
        (seqs, load, length): ("ok", 2) if length == 32 else ("invalid", 0)
        for seqs in (4, 8)
        for load, length in ((1, 32), (4, 32), (4, 4000))
    }
    assert (study.sources[0].kind, study.sources[0].name) == ("vllm bench sweep", "grid")
    assert {"output_tokens_per_s", "p99_ttft_ms", "median_itl_ms", "total_tokens_per_s"} < set(study.metrics)
    assert not {"max_num_seqs", "random_input_len", "max_concurrency", "run_number"} & set(study.metrics)


def test_what_a_sweep_does_not_record_is_not_known() -> None:
    point = read_studies([RECORDED / "sweep" / "grid"]).points[0]

    assert (point.num_gpus, point.host, dict(point.versions), point.good[0].seed) == (None, None, {}, None)


def test_gpus_are_known_where_all_parallel_sizes_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "e" / "SERVE--x"
    folder.mkdir(parents=True)
    sizes = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "data_parallel_size": 1}
    (folder / "run=0.json").write_text(json.dumps({**one_result(), "run_number": 0, **sizes}))

    assert read_studies([tmp_path]).points[0].num_gpus == 8


def test_requests_without_an_answer_make_a_repeat_invalid() -> None:
    points = read_studies([RECORDED / "sweep" / "grid"]).points

    assert next(point for point in points if point.verdict == "invalid").reason == (
        "2 of 2 invalid: 0 of 8 requests were answered"
    )


def test_a_result_that_a_failed_run_left_behind_does_not_count() -> None:
    """vLLM takes it for good when it resumes."""
    study = read_studies([RECORDED / "died"])

    found = {tuple(point.value(key) for key in KEYS): (point.verdict, point.num_ok) for point in study.points}
    assert found[4, 1, 32] == ("ok", 1)
    assert found[4, 4, 32] == ("ok", 2)
    assert found[8, 1, 32] == ("failed", 0)
    partly = next(point for point in study.points if point.num_ok == 1)
    assert partly.reason is not None
    assert "RemoteDisconnected" in partly.reason
    assert "6 of 8 requests were answered, 2 failed" in partly.reason


def test_a_server_that_did_not_start_is_a_failed_point(tmp_path: Path) -> None:
    failure = {"error_type": "RuntimeError", "error": "it exited", "serve_overrides": {"max-num-seqs": 4}}
    (tmp_path / "SERVE-max-num-seqs=4-failure.json").write_text(json.dumps(failure))

    (point,) = read_studies([tmp_path]).points

    assert (point.verdict, point.value("inference.max_num_seqs")) == ("failed", 4)
    assert point.reason == "1 of 1 failed: the server: RuntimeError: it exited"


def test_loads_that_were_explored_are_points() -> None:
    study = read_studies([RECORDED / "sweep" / "workload"])

    assert sorted(point.value("workload.max_concurrency") for point in study.points) == [1, 4, 8]
    assert {point.verdict for point in study.points} == {"ok"}


def test_a_folder_of_experiments_is_read_whole_and_a_single_combination_too() -> None:
    whole = read_studies([RECORDED / "sweep"])
    one = read_studies([next((RECORDED / "sweep" / "workload").iterdir())])

    assert [source.name for source in whole.sources] == ["grid", "workload"]
    assert len(one.points) == 1


def test_a_run_that_is_not_whole_has_failed(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "sweep" / "workload", tmp_path / "e")
    file = next((tmp_path / "e").rglob("run=0.json"))
    file.write_text(file.read_text()[:100])

    points = read_studies([tmp_path / "e"]).points

    assert sorted(point.verdict for point in points) == ["failed", "ok", "ok"]
    assert next(point.reason for point in points if point.verdict == "failed") == (
        "1 of 1 failed: run=0.json is not whole"
    )


def test_one_result_is_a_point_with_its_metadata() -> None:
    (point,) = read_studies([RECORDED / "single" / "one.json"]).points

    assert (point.verdict, point.num_ok, point.model) == ("ok", 1, "demo")
    assert point.value("metadata.note") == "first"
    assert point.value("workload.max_concurrency") == 2
    assert point.num_gpus is None


def test_appended_results_of_the_same_requests_are_repeats() -> None:
    """Two of 32 input tokens, one of 64: that only the counted tokens tell."""
    study = read_studies([RECORDED / "single" / "appended.json"])

    assert [point.num_ok for point in study.points] == [2, 1]


def test_a_folder_of_results_is_a_study_and_other_files_in_it_are_passed_over(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "single", tmp_path / "results")
    (tmp_path / "results" / "bench-params.json").write_text('[{"max_concurrency": 1}]')
    (tmp_path / "results" / "notes.json").write_text("not JSON")

    study = read_studies([tmp_path / "results"])

    assert sorted(point.num_ok for point in study.points) == [1, 1, 2]


def test_a_list_of_results_is_read_like_appended_ones(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps([one_result(), one_result()], indent=1))

    assert [point.num_ok for point in read_studies([tmp_path / "all.json"]).points] == [2]


def test_an_appended_result_that_is_not_whole_has_failed_and_the_others_count(tmp_path: Path) -> None:
    text = json.dumps(one_result())
    (tmp_path / "all.json").write_text(f"{text}\n{text}\n{text[:200]}")

    study = read_studies([tmp_path / "all.json"])

    assert [(point.verdict, point.num_ok) for point in study.points] == [("ok", 2), ("failed", 0)]


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"failed": 1, "completed": 7}, "invalid"),
        ({"failed": 0, "completed": 0}, "invalid"),
        ({"failed": None, "completed": 7}, "invalid"),  # of a pooling model, which does not count what failed
        ({"failed": None, "completed": 8}, "ok"),
        ({"failed": 0, "completed": 5}, "ok"),  # the data set was smaller
    ],
)
def test_whether_requests_failed_is_told_by_what_there_is(
    tmp_path: Path, changed: dict[str, Any], verdict: str
) -> None:
    result = {name: value for name, value in {**one_result(), **changed}.items() if value is not None}

    assert read_results(tmp_path, result).points[0].verdict == verdict


def test_other_parameters_are_another_point(tmp_path: Path) -> None:
    study = read_results(tmp_path, one_result(), {**one_result(), "request_rate": 5.0})

    assert [point.labels for point in study.points] == [
        {"workload.request_rate": "inf"},
        {"workload.request_rate": 5.0},
    ]


def test_imported_results_compare_with_each_other() -> None:
    grid, died = (read_studies([RECORDED / name]) for name in ("sweep/grid", "died"))

    found = compare(died, grid)

    assert len(found.pairs) == 6
    assert set(found.keys) == set(KEYS)
    assert [pair.change("p99_ttft_ms") is not None for pair in found.pairs].count(True) == 2


def test_a_folder_without_results_says_what_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")

    with pytest.raises(ConfigError, match=r"no sweep .* and no result of vllm bench is in it"):
        read_studies([tmp_path])
