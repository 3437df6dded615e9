"""What is written of a study: figures, a table, a file; and the command that writes them."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mixvllm.cli.app import app
from mixvllm.report.choice import Asked, choose_axes, objectives_of
from mixvllm.report.figures import write_figures
from mixvllm.report.html import page_text
from mixvllm.report.markdown import markdown_text
from mixvllm.report.metrics import NO_UNIT, metric_of
from mixvllm.report.read import read_studies
from mixvllm.runs.files import write_json
from mixvllm.runs.records import read_json
from tests.report.written_sweeps import write_sweep

GRID = {"inference.max_num_seqs": [8, 64], "workload.max_concurrency": [1, 16]}
PNG, SVG = b"\x89PNG", b"<?xml"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A sweep with one point that failed."""
    return write_sweep(tmp_path / "night", GRID, verdicts={3: "failed"}).path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of `mixvllm report`."""
    done = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_the_page_is_for_its_owner_alone(night: Path) -> None:
    code, _, told = run(night)

    assert code == 0
    assert "report   report.html  (4 points, 3 good)" in told
    assert stat.S_IMODE(Path("report.html").stat().st_mode) == 0o600


def test_the_page_loads_nothing(night: Path) -> None:
    study = read_studies([night])
    page = page_text(study, choose_axes(study, Asked()))

    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", page.split("<script>")[0]) == []
    assert "default-src &#x27;none&#x27;" in page


@pytest.mark.parametrize(("form", "beginning"), [("png", PNG), ("svg", SVG)])
def test_figures_are_written_and_no_page(night: Path, tmp_path: Path, form: str, beginning: bytes) -> None:
    code, _, told = run(night, "--figures", tmp_path / "figures", "--format", form)

    files = sorted((tmp_path / "figures").iterdir())
    assert code == 0
    assert [file.name for file in files] == [f"curve.{form}", f"startup.{form}", f"tradeoff.{form}"]
    assert all(file.read_bytes().startswith(beginning) for file in files)
    assert all(file.name in told for file in files)
    assert not Path("report.html").exists()


def test_figures_are_the_same_each_time(night: Path, tmp_path: Path) -> None:
    study = read_studies([night])
    written = [write_figures(study, choose_axes(study, Asked()), tmp_path / name, "png") for name in "ab"]

    assert [file.read_bytes() for file in written[0]] == [file.read_bytes() for file in written[1]]


def test_a_study_without_numbers_has_no_figures_but_a_page(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", {"workload.max_concurrency": [1]}, verdicts={0: "missing"})
    for file in folder.servers.glob("*/*/*/status.json"):
        file.unlink()

    code, _, told = run(folder.path, "--figures", tmp_path / "f", "--output", tmp_path / "r.html")

    assert (code, "no figure: nothing was measured" in told, (tmp_path / "r.html").exists()) == (0, True, True)


def test_the_table_has_each_point_with_interval_repeats_and_unit(night: Path) -> None:
    code, table, _ = run(night, "--markdown", "-", "--y", "p99_itl_ms")

    lines = table.splitlines()
    assert code == 0
    assert lines[0].startswith(
        "| point | inference.max_num_seqs | workload.max_concurrency | GPUs | good | p99_itl_ms (ms)"
    )
    assert re.fullmatch(r"\| 0 \| 8 \| 1 \| 1 \| 3/3 (\| [\d.,]+ ±[\d.,]+ \(n 3\) )+\|", lines[2])
    assert lines[5] == "| 3 | 64 | 16 | 1 | failed | - | - | - | - |"
    assert "- night#3 failed: 3 of 3 failed: CUDA out of memory." in lines
    assert all(len(line.split(" | ")) == len(lines[0].split(" | ")) for line in lines[:6])


def test_a_name_cannot_break_the_table(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a|b", {"workload.max_concurrency": [1]}, verdicts={0: "failed"})
    study = read_studies([folder.path])

    text = markdown_text(study, choose_axes(study, Asked()))

    assert "- a\\|b#0 failed" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--y", "p99_ttf_ms"], "--y=p99_ttf_ms: no such metric was measured; did you mean p99_ttft_ms?"),
        (["--x", "inference.max_num_seq"], "did you mean inference.max_num_seqs?"),
        (["--latency", "x", "--throughput", "y"], "--throughput=y: no such metric"),
        (["--output", "/proc/nowhere/r.html"], "cannot be written"),
    ],
)
def test_a_mistake_is_refused_with_the_way_out(night: Path, options: list[str], words: str) -> None:
    code, _, told = run(night, *options)

    assert code == 2
    assert words in told


def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    code, _, told = run(tmp_path)

    assert code == 2
    assert f"{tmp_path}: no sweep (sweep.json), no run (status.json) and no result of vllm bench is in it" in told


@pytest.mark.parametrize(("module", "options"), [("plotly", []), ("matplotlib", ["--figures", "f"])])
def test_what_is_not_installed_is_named(
    night: Path, monkeypatch: pytest.MonkeyPatch, module: str, options: list[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)

    code, _, told = run(night, *options)

    assert code == 2
    assert "pip install 'mixvllm[report]'" in told


def test_what_a_search_was_for_comes_first(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", GRID)
    plan = read_json(folder.record) or {}
    plan["settings"] |= {"search": "optuna", "objective": {"mean_itl_ms": "minimize"}}
    write_json(folder.record, plan)

    study = read_studies([folder.path])

    assert study.sources[0].kind == "search"
    assert objectives_of(study)[0].metric == "mean_itl_ms"


def test_axes_are_of_the_load_and_of_what_varies(night: Path) -> None:
    axes = choose_axes(read_studies([night]), Asked())

    assert (axes.latency, axes.throughput) == ("p99_ttft_ms", "output_tokens_per_s")
    assert (axes.x, axes.y, axes.by) == ("workload.max_concurrency", "output_tokens_per_s", "inference.max_num_seqs")


@pytest.mark.parametrize(
    ("name", "unit", "better"),
    [
        ("p99_ttft_ms", "ms", False),
        ("std_ttft_ms", "ms", None),
        ("output_tokens_per_s", "tokens/s", True),
        ("request_goodput_per_s", "requests/s", True),
        ("num_failed", "count", False),
        ("server.prefix_cache_hit_fraction", "fraction, 0 to 1", True),
        ("server.gpu_memory_gib", "GiB", None),
        ("accuracy", NO_UNIT, None),
    ],
)
def test_the_name_of_a_metric_tells_its_unit_and_what_is_better(name: str, unit: str, better: Any) -> None:
    metric = metric_of(name)

    assert (metric.unit, metric.is_higher_better) == (unit, better)
