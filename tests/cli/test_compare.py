"""`mixvllm compare` as it is typed: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mixvllm.cli.app import app

RECORDED = Path(__file__).parents[1] / "report" / "vllm_bench"


def compare(*arguments: str, a: str = "died", b: str = "sweep/grid") -> Result:
    return CliRunner().invoke(app, ["compare", str(RECORDED / a), str(RECORDED / b), *arguments])


def test_a_table_for_each_metric_and_exit_code_0() -> None:
    result = compare("--metric", "p99_ttft_ms")

    assert result.exit_code == 0
    assert result.stdout.startswith(
        "A  died (vllm bench sweep)\nB  grid (vllm bench sweep)\n\np99_ttft_ms: lower is better"
    )


def test_a_condition_that_is_met_is_exit_code_1_and_says_where() -> None:
    result = compare(
        "--fail-on", "p99_e2el_ms>-99%", "--fail-on", "p99_e2el_ms<-99%", a="sweep/grid", b="sweep/workload"
    )

    assert result.exit_code == 1
    assert "failed: p99_e2el_ms>-99%: " in result.stderr
    assert "p99_e2el_ms<-99%" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail-on", "p99_e2el_ms=5"], "must be METRIC>LIMIT"),
        (["--metric", "p99_e2e_ms"], "did you mean p99_e2el_ms"),
    ],
)
def test_a_wrong_argument_is_exit_code_2(arguments: list[str], words: str) -> None:
    result = compare(*arguments)

    assert result.exit_code == 2
    assert words in result.stderr


def test_a_folder_without_results_is_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["compare", str(tmp_path), str(RECORDED / "died")])

    assert result.exit_code == 2


def test_json_is_an_object_with_what_was_failed_on() -> None:
    result = compare("--json", "--fail-on", "p99_e2el_ms>-99%", a="sweep/grid", b="sweep/workload")

    told = json.loads(result.stdout)
    assert {one["condition"] for one in told["failed_conditions"]} == {"p99_e2el_ms>-99%"}
    assert result.exit_code == 1


def test_markdown_has_a_table() -> None:
    assert "| ---: | ---: | ---: | --- |" in compare("--markdown").stdout
