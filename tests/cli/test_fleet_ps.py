"""The list of runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mixvllm.cli.fleet.ps import show_runs
from mixvllm.cli.fleet.words import Column, duration, plain, table
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.samples import append_sample
from mixvllm.server.processes import identify
from tests.written_runs import DEAD, SLEEP, Processes, ago, role, write_processes, write_run

EXPECTED = Path(__file__).parent / "expected"


def living(name: str, **status: Any) -> RunFolder:
    own = identify(os.getpid())
    assert own is not None
    return write_run(name, supervisor=role(own), began_at=ago(days=5, hours=4.5), **status)


def folder(name: str) -> Path:
    return Path.cwd() / "outputs" / "2026-01-02" / name


def write_sample(run: RunFolder, **changes: Any) -> None:
    engine = {
        "num_requests_running": 3,
        "num_requests_waiting": 1,
        "num_finished_total": {"stop": 90, "abort": 1, "error": 2},
        "num_http_errors_total": 4,
    }
    sample = {
        "time": datetime.now(UTC).isoformat(),
        "answers": True,
        "gpus": [{"id": 0}, {"id": 1}],
        "engine": engine,
        "rates": {"generation_tokens_per_s": 1234.5},
    }
    append_sample(run, sample | changes)


@pytest.fixture
def some_runs(processes: Processes) -> None:
    """One run of every kind."""
    write_run("10-00-00-aaaaaa", state="stopped", model="old", since=ago(days=2))
    write_run("11-00-00-bbbbbb", state="failed", began_at=ago(hours=4.5), since=ago(hours=4), cause="out of memory")
    lost = write_run(
        "12-00-00-cccccc", state="ready", began_at=ago(hours=4.5), supervisor=role(DEAD), guardian=role(DEAD)
    )
    write_processes(lost, DEAD, [processes.start(SLEEP)])
    times = {"began_at": ago(hours=4.5), "ready_at": ago(hours=2.5)}
    write_run("13-00-00-dddddd", state="ready", host="elsewhere", url="http://10.0.0.7:8000", **times)
    living("14-00-00-eeeeee", state="starting", phase="weights", model="meta-llama/Llama-3.1-70B-Instruct")
    ready = living("15-00-00-ffffff", state="ready", url="http://127.0.0.1:8000", ready_at=ago(days=5, hours=3.5))
    write_sample(ready)


@pytest.fixture
def processes() -> Any:
    started = Processes()
    yield started
    started.end()


def check(name: str, text: str) -> None:
    file = EXPECTED / name
    if os.environ.get("UPDATE_EXPECTED"):
        file.write_text(text)
    assert text == file.read_text()


def on_terminal(width: int, **environment: str) -> str:
    """Return what `mixvllm ps` prints on a terminal of `width` columns."""
    script = f"import pty, sys; pty.spawn([sys.executable, '-c', {SHOW!r}])"
    size = {"COLUMNS": str(width), "LINES": "24", "TERM": "xterm", **environment}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=os.environ | size, text=True)
    return done.stdout.replace("\r", "")


SHOW = "from mixvllm.cli.fleet.ps import show_runs; raise SystemExit(show_runs())"


@pytest.mark.usefixtures("some_runs")
def test_in_a_pipe_every_column_is_whole_and_plain(capsys: pytest.CaptureFixture[str]) -> None:
    code = show_runs()

    assert code == 0
    check("ps_piped.txt", capsys.readouterr().out)


@pytest.mark.usefixtures("some_runs")
def test_all_lists_those_that_ended_long_ago_too(capsys: pytest.CaptureFixture[str]) -> None:
    show_runs(everything=True)

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()][-1] == "10-00-00-aaaaaa"


@pytest.mark.usefixtures("some_runs")
@pytest.mark.parametrize("width", [60, 80, 100])
def test_on_a_terminal_each_run_is_one_line_that_fits(width: int) -> None:
    text = on_terminal(width, NO_COLOR="1")

    assert max(map(len, text.splitlines())) <= width
    check(f"ps_{width}.txt", text)


@pytest.mark.usefixtures("some_runs")
def test_colours_are_those_of_the_state_alone() -> None:
    text = on_terminal(100)

    assert "\x1b[32mready\x1b[0m" in text
    assert text.count("\x1b[") == 2 * 5


@pytest.mark.usefixtures("some_runs")
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_can_be_unwanted(environment: dict[str, str]) -> None:
    assert "\x1b" not in on_terminal(100, **environment)


@pytest.mark.usefixtures("some_runs")
def test_json_has_everything_of_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    show_runs(as_json=True)

    runs = {run["run"]: run for run in json.loads(capsys.readouterr().out)}
    ready, lost = runs["15-00-00-ffffff"], runs["12-00-00-cccccc"]
    assert (next(iter(runs)), ready["state"], ready["gpus"]) == ("15-00-00-ffffff", "ready", [0, 1])
    assert (ready["num_requests_running"], ready["num_errors"], ready["folder"]) == (
        3,
        7,
        str(folder("15-00-00-ffffff")),
    )
    assert (lost["state"], lost["num_orphans"], lost["up_s"]) == ("lost", 1, None)
    assert (runs["13-00-00-dddddd"]["is_remote"], runs["11-00-00-bbbbbb"]["cause"]) == (True, "out of memory")


def test_without_runs_the_way_to_start_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code = show_runs()

    shown = capsys.readouterr()
    assert (code, shown.out, "mixvllm launch model=demo" in shown.err) == (0, "there is no run yet\n", True)


def test_without_living_runs_it_is_told_how_to_see_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a", state="stopped", since=ago(days=2))

    show_runs()

    shown = capsys.readouterr()
    assert (shown.out, "mixvllm ps --all" in shown.err) == ("no run lives\n", True)


def test_without_runs_json_is_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    show_runs(as_json=True)

    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"time": ago(minutes=5)},
        {"time": "yesterday"},
        {"engine": None, "rates": 7, "gpus": None, "answers": False},
        {"engine": {"num_requests_running": "3", "num_finished_total": []}, "rates": {}, "gpus": [None]},
    ],
    ids=["old", "no time", "no answer", "wrong"],
)
def test_a_sample_that_tells_nothing_of_now_is_not_shown(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    write_sample(living("a", state="ready"), **changes)

    show_runs(as_json=True)

    (run,) = json.loads(capsys.readouterr().out)
    assert (run["num_requests_running"], run["generation_tokens_per_s"], run["num_errors"]) == (None, None, None)


def test_a_sample_of_the_server_before_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run = living("a", state="starting", attempt_began_at=datetime.now(UTC).isoformat())
    write_sample(run, time=ago(seconds=5))

    show_runs(as_json=True)

    assert json.loads(capsys.readouterr().out)[0]["num_requests_running"] is None


def test_a_name_cannot_change_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    living("a", state="ready", model="x\x1b[2J\ny")

    show_runs()

    assert capsys.readouterr().out.splitlines()[1].split()[2] == "x?[2J?y"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (11520, "3h12m"), (86400 * 5 + 14400, "5d04h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_columns_go_by_rank_and_a_long_cell_is_cut_first() -> None:
    columns = (Column("A"), Column("B", is_cut=True), Column("C", rank=1, is_number=True), Column("D", rank=2))
    rows = [["aaaa", "b" * 30, "1", "d"]]

    shown = {width: table(columns, rows, width)[1] for width in (None, 30, 22, 20)}

    assert shown == {
        None: f"aaaa  {'b' * 30}  1  d",
        30: f"aaaa  …{'b' * 17}  1  d",
        22: f"aaaa  …{'b' * 12}  1",
        20: f"aaaa  …{'b' * 13}",
    }


@pytest.mark.parametrize("text", ["", "a b", "ü/模型"])
def test_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_listing_needs_nothing_that_takes_long_to_import() -> None:
    heavy = "{'pydantic', 'httpx', 'rich', 'psutil', 'hydra', 'prometheus_client', 'asyncio'}"
    script = f"import mixvllm.cli.fleet.ps, sys; print({heavy} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"
