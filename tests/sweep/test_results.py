"""The results of a sweep: the table, the files, the best point, and how far it is."""

from __future__ import annotations

import csv
import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mixvllm.sweep.best import Objective, best_point
from mixvllm.sweep.progress import Progress, Running, duration, progress_lines
from mixvllm.sweep.result_files import column_type, csv_text, write_results
from mixvllm.sweep.result_lines import measured, table_lines
from mixvllm.sweep.results import Results, read_results
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.text_table import table
from tests.sweep.planned import planned_folder, write_repeat

EXPECTED = Path(__file__).parent / "expected"


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    """A sweep with points that are good, in part good, failed, invalid, and not measured."""
    grid = ("inference.max_num_seqs=16,32,64,128,256", "workload.prompt='Hi, you'")
    plan, folder = planned_folder(tmp_path, *grid)
    good, partly, failed, invalid, _ = (point.content_hash for point in plan.points)
    for number, speed in enumerate((100.0, 102.5, 101.0), 1):
        write_repeat(folder, good, number, {"output_tokens_per_s": speed, "p99_ttft_ms": 20 + number, "completed": 8})
    for number, speed in enumerate((140.125, 141.0), 1):
        write_repeat(
            folder, partly, number, {"output_tokens_per_s": speed, "p99_ttft_ms": 22}, server_metrics={"kv": 0.5}
        )
    zeros = {"output_tokens_per_s": 0.0, "p99_ttft_ms": 0.0}
    write_repeat(folder, partly, 3, zeros, verdict="invalid", reason="2 of 8 requests failed")
    for number in (1, 2, 3):
        reason = "the server died: no GPU memory"
        write_repeat(folder, failed, number, zeros, verdict="failed", reason=reason, start={})
        write_repeat(folder, invalid, number, zeros, verdict="invalid", reason="the caches were not reset")
    return folder


def summary(results: Results, point: int) -> dict[str, Any]:
    return next(row for row in results.summaries if row["point"] == point)


def test_each_repeat_and_each_point_has_a_row(folder: SweepFolder) -> None:
    rows = read_results(folder).rows

    assert [(row["point"], row["row"], row.get("repeat")) for row in rows[:5]] == [
        (0, "repeat", 1),
        (0, "repeat", 2),
        (0, "repeat", 3),
        (0, "summary", None),
        (1, "repeat", 1),
    ]
    assert len(rows) == 4 * 3 + 5


def test_a_summary_has_the_mean_and_its_interval(folder: SweepFolder) -> None:
    row = summary(read_results(folder), 0)
    mean = 303.5 / 3

    assert (row["verdict"], row["num_ok"], row["reason"], row["output_tokens_per_s"]) == ("ok", 3, None, mean)
    assert row["output_tokens_per_s_std"] == pytest.approx(1.258306)
    assert row["output_tokens_per_s_ci95_low"] == pytest.approx(mean - 3.125805, abs=1e-6)
    assert row["output_tokens_per_s_ci95_high"] == pytest.approx(mean + 3.125805, abs=1e-6)
    assert (row["start_kind"], row["start_ready_s"], row["version.vllm"]) == ("cold", 20.5, "0.32.0")


def test_only_good_repeats_count(folder: SweepFolder) -> None:
    row = summary(read_results(folder), 1)

    assert (row["num_ok"], row["output_tokens_per_s"], row["server.kv"]) == (2, 140.5625, 0.5)
    assert (row["verdict"], row["reason"]) == ("ok", "1 of 3 invalid: 2 of 8 requests failed")


@pytest.mark.parametrize(("point", "verdict"), [(2, "failed"), (3, "invalid"), (4, "missing")])
def test_what_is_not_good_has_no_numbers(folder: SweepFolder, point: int, verdict: str) -> None:
    results = read_results(folder)
    rows = [row for row in results.rows if row["point"] == point]

    assert {row["verdict"] for row in rows} == {verdict}
    assert [row.get(metric) for row in rows for metric in results.metrics] == [None] * len(rows) * len(results.metrics)


def test_repeats_of_different_versions_are_told(folder: SweepFolder) -> None:
    good = read_results(folder).rows[0]["content_hash"]
    write_repeat(folder, good, 2, {"output_tokens_per_s": 1.0}, versions={"vllm": "0.33.0"})

    row = summary(read_results(folder), 0)

    assert (row["version.vllm"], row["reason"]) == ("0.32.0, 0.33.0", "repeats of different versions of vllm")


def test_repeats_beyond_those_that_are_planned_do_not_count(folder: SweepFolder) -> None:
    good = read_results(folder).rows[0]["content_hash"]
    write_repeat(folder, good, 4, {"output_tokens_per_s": 1000.0})

    assert summary(read_results(folder), 0)["num_ok"] == 3


def test_a_metric_that_is_named_like_a_column_keeps_both_apart(folder: SweepFolder) -> None:
    good = read_results(folder).rows[0]["content_hash"]
    write_repeat(folder, good, 1, {"seed": 7.0, "inference.max_num_seqs": 3.0, "ttft_std": 1.0, "ttft": 2.0})

    row = read_results(folder).rows[0]

    assert (row["seed"], row["metric.seed"], row["inference.max_num_seqs"]) == (101, 7.0, 16)
    assert (row["metric.inference.max_num_seqs"], row["metric.ttft_std"]) == (3.0, 1.0)


def test_what_is_no_number_is_no_metric(folder: SweepFolder) -> None:
    good = read_results(folder).rows[0]["content_hash"]
    values = {"a": None, "b": "x", "c": float("nan"), "d": True, "e": [1], "f": float("inf"), "g": 1}
    write_repeat(folder, good, 1, values)

    assert {"a", "b", "c", "d", "e", "f", "g"} & set(read_results(folder).metrics) == {"g"}


def test_the_csv_is_as_recorded(folder: SweepFolder) -> None:
    results = read_results(folder)
    hashes = {str(row[key]): f"<{key}>" for row in results.rows for key in ("content_hash", "server_key")}
    text = csv_text(results)
    for value, name in hashes.items():
        text = text.replace(value, name)

    assert_recorded("results.csv", text)


def test_floats_are_whole(folder: SweepFolder) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(read_results(folder)))))

    assert float(rows[3]["output_tokens_per_s"]) == 303.5 / 3


def test_columns_do_not_depend_on_what_was_measured_first(tmp_path: Path) -> None:
    orders = (("a", "b", "c"), ("c", "a", "b"))
    tables = []
    for number, order in enumerate(orders):
        plan, folder = planned_folder(tmp_path, "inference.seed=1,2", name=f"sweep-{number}")
        write_repeat(folder, plan.points[0].content_hash, 1, dict.fromkeys(order, 1.0))
        tables.append(read_results(folder))

    assert tables[0].columns == tables[1].columns


def test_the_files_are_replaced_whole_and_for_their_owner(folder: SweepFolder) -> None:
    folder.results_csv.write_text("old")
    written = write_results(folder)

    assert folder.results_csv.read_text(encoding="utf-8") == csv_text(written.results)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (folder.results_csv, folder.results_parquet)} == {0o600}
    assert [path.name for path in folder.path.iterdir() if path.name.startswith(".")] == []


def test_without_pyarrow_there_is_a_csv_and_a_remark(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)

    written = write_results(folder)

    assert (folder.results_csv.exists(), folder.results_parquet.exists()) == (True, False)
    assert written.remark == (
        "results.parquet is not written: pyarrow is not installed; pip install 'mixvllm[results]'"
    )


def test_parquet_has_the_rows_with_their_types(folder: SweepFolder) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: the extra `results`")
    results = write_results(folder).results

    table = parquet.read_table(folder.results_parquet)

    assert table.column_names == results.columns
    assert table.to_pylist() == [{column: row.get(column) for column in results.columns} for row in results.rows]
    types = {name: str(table.schema.field(name).type) for name in ("inference.max_num_seqs", "p99_ttft_ms", "reason")}
    assert types == {"inference.max_num_seqs": "int64", "p99_ttft_ms": "double", "reason": "string"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, 2], "int64"),
        ([1, 2.5], "float64"),
        ([True, None], "bool"),
        ([True, 1], "string"),
        (["auto", 1], "string"),
        ([None], "string"),
    ],
)
def test_a_column_has_the_narrowest_type(values: list[Any], expected: str) -> None:
    assert column_type(values) == expected


def rows(*values: tuple[float, float, str]) -> list[dict[str, Any]]:
    """Return summary rows: mean, half of the interval, verdict."""
    return [
        {
            "row": "summary",
            "point": number,
            "verdict": verdict,
            "num_ok": 3,
            "x": mean,
            "x_std": 1.0,
            "x_ci95_low": mean - half,
            "x_ci95_high": mean + half,
        }
        for number, (mean, half, verdict) in enumerate(values)
    ]


@pytest.mark.parametrize(("is_higher_better", "point"), [(True, 1), (False, 0)])
def test_the_best_point_has_the_best_mean(is_higher_better: bool, point: int) -> None:
    best = best_point(rows((10, 1, "ok"), (20, 1, "ok")), Objective("x", is_higher_better))

    assert best is not None
    assert (best.row["point"], best.rivals) == (point, ())


def test_points_whose_intervals_overlap_with_the_best_are_its_rivals() -> None:
    best = best_point(rows((10, 1, "ok"), (20, 2, "ok"), (17, 2, "ok")), Objective("x", True))

    assert best is not None
    assert (best.row["point"], [row["point"] for row in best.rivals]) == (1, [2])


@pytest.mark.parametrize("verdict", ["failed", "invalid", "missing"])
def test_a_point_that_is_not_good_wins_nothing(verdict: str) -> None:
    best = best_point(rows((10, 1, "ok"), (0, 0, verdict), (12, 0.5, "ok")), Objective("x", False))

    assert best is not None
    assert best.row["point"] == 0


def test_there_is_no_best_of_one() -> None:
    assert best_point(rows((10, 1, "ok"), (0, 0, "failed")), Objective("x", False)) is None


@pytest.mark.parametrize("width", [60, 80])
def test_the_lines_of_the_results_are_as_recorded(folder: SweepFolder, width: int) -> None:
    assert_recorded(f"results_{width}.txt", "\n".join(table_lines(read_results(folder), width)) + "\n")


def test_names_of_columns_are_cut_before_numbers() -> None:
    lines = table(["point", "output_tokens_per_s"], [["0", "10,155 ±3,016"]], 20, right=frozenset([0, 1]))

    assert lines == ["point  output_token…", "    0  10,155 ±3,016"]


def test_single_repeats_have_no_winner(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1,2", "workload.repeats=1")
    for number, point in enumerate(plan.points):
        write_repeat(folder, point.content_hash, 1, {"output_tokens_per_s": 100.0 * (1 + number)})

    lines = table_lines(read_results(folder))

    assert lines[-1] == "highest output_tokens_per_s: no clear winner; a single repeat has no interval"


@pytest.mark.parametrize(
    ("mean", "half", "expected"),
    [
        (1234.5678, 12.3, "1,235 ±12"),
        (1234.5678, 1.23, "1,234.6 ±1.2"),
        (0.123456, 0.0123, "0.123 ±0.012"),
        (5.0, 0.0, "5.000 ±0.000"),
    ],
)
def test_a_mean_has_as_many_digits_as_its_interval_allows(mean: float, half: float, expected: str) -> None:
    assert measured(rows((mean, half, "ok"))[0], "x") == expected


def record(point: str, verdict: str = "ok", run: str = "a", ready_s: float = 20.0) -> dict[str, Any]:
    return {
        "point": point,
        "verdict": verdict,
        "duration_s": 10.0,
        "server_run": run,
        "start": {"kind": "cold", "ready_s": ready_s},
    }


def progress(records: list[dict[str, Any]], **changes: Any) -> Progress:
    known: dict[str, Any] = {"planned": {"x": 2, "y": 2, "z": 2}, "num_servers": 2, "num_slots": 1}
    return Progress(**{**known, "records": records, "num_servers_begun": 1, **changes})


def test_the_time_left_is_unknown_before_anything_was_measured() -> None:
    assert progress([]).eta_s is None


def test_the_time_left_is_that_of_the_repeats_and_starts_that_are_left() -> None:
    assert progress([record("x"), record("x"), record("y")]).eta_s == 3 * 10 + 20


def test_servers_that_run_at_once_share_the_time() -> None:
    assert progress([record("x"), record("x"), record("y")], num_slots=2).eta_s == 25


def test_what_is_under_way_is_taken_off() -> None:
    under_way = [Running("point 1", "bench", 4.0)]

    assert progress([record("x")] * 2 + [record("y")], running=under_way).eta_s == 46


def test_a_start_that_several_repeats_share_counts_once() -> None:
    records = [
        record("x", run="a", ready_s=10.0),
        record("x", run="a", ready_s=10.0),
        record("y", run="b", ready_s=30.0),
    ]

    assert progress(records, num_servers=3, num_servers_begun=2).eta_s == 3 * 10 + 20


def test_the_lines_tell_what_is_done_what_went_wrong_what_was_reached_and_what_runs() -> None:
    fast, slow = ({**record("x"), "metrics": {"output_tokens_per_s": value}} for value in (1234.4, 98.76))
    records = [fast, slow, record("x", "failed"), record("y", "invalid")]
    running = [Running("point 1", "bench", 3.4), Running("point 2", "weights", 150)]

    assert progress_lines(progress(records, running=running), 120, {"x": 7}) == [
        "1/3 points, 1 failed, 1 invalid, about 27 s left",
        "best 1,234 tokens/s (point 7), last 98.8",
        "point 1: bench, 3 s",
        "point 2: weights, 2 min",
    ]


def test_without_tokens_the_throughput_is_that_of_requests_and_without_any_there_is_no_line() -> None:
    requests = {**record("x"), "metrics": {"request_throughput_per_s": 2.5}}
    wrong = {**record("x", "invalid"), "metrics": {"output_tokens_per_s": 1e9}}

    assert progress_lines(progress([requests, wrong]), 80, {"x": 0})[1] == "best 2.5 requests/s (point 0), last 2.5"
    assert len(progress_lines(progress([record("x")]), 80, {})) == 1


def test_of_many_servers_some_are_shown_and_the_others_counted() -> None:
    running = [Running(f"point {number}", "bench", 1) for number in range(20)]

    assert progress_lines(progress([], running=running), 80, {})[-1] == "and 12 more"


def test_the_lines_fit_the_terminal() -> None:
    lines = progress_lines(progress([], running=[Running("p", "x" * 200, 1)]), 40, {})

    assert max(len(line) for line in lines) == 40


@pytest.mark.parametrize(("seconds", "expected"), [(7.4, "7 s"), (150, "2 min"), (7200, "2 h 0 min")])
def test_a_span_has_a_persons_precision(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def assert_recorded(name: str, text: str) -> None:
    expected = EXPECTED / name
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
