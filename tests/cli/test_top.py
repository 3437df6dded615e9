"""What `mixvllm top` shows, against recorded text. `UPDATE_EXPECTED=1` records it anew."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mixvllm.cli.top import render, show_top
from mixvllm.cli.top_lines import count, duration, plain_line, sparkline
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.snapshot import Snapshot, read_snapshot
from tests.cli.recorded_runs import NOW, make_all, make_run, sample

EXPECTED = Path(__file__).parent / "expected"
PROGRAM = """
import sys
from pathlib import Path
from mixvllm.cli.top import show_top
options = sys.argv[1].split(",")
runs = [Path(word) for word in sys.argv[2:]]
sys.exit(show_top(runs, once="once" in options, period_s=0.05, as_json="json" in options))
"""


def command(options: str, *runs: Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM, options, *map(str, runs)]


@pytest.fixture
def runs(tmp_path: Path) -> list[Snapshot]:
    """Every kind of run, at one moment."""
    return [read_snapshot(RunFolder(path), 24, NOW) for path in make_all(tmp_path)]


def draw(runs: list[Snapshot], *, height: int = 100, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, highlight=False, **options)
    console.print(render(runs, console))
    stream = console.file
    assert isinstance(stream, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def compare(name: str, text: str) -> None:
    recorded = EXPECTED / f"{name}.txt"
    if os.environ.get("UPDATE_EXPECTED"):
        recorded.write_text(text, encoding="utf-8")
    assert text == recorded.read_text(encoding="utf-8")


def test_each_run_is_a_block(runs: list[Snapshot]) -> None:
    compare("top_blocks", draw(runs))


def test_runs_that_do_not_fit_the_height_are_a_row_each(runs: list[Snapshot]) -> None:
    compare("top_rows", draw(runs, height=24))


def test_off_a_terminal_each_run_is_a_line(runs: list[Snapshot]) -> None:
    compare("top_lines", "".join(f"{plain_line(run)}\n" for run in runs))


@pytest.mark.parametrize("height", [24, 100])
def test_no_line_is_wider_than_80_columns(runs: list[Snapshot], height: int) -> None:
    assert max(len(line) for line in draw(runs, height=height).splitlines()) <= 80


def test_a_narrow_table_has_fewer_columns_and_all_of_those(runs: list[Snapshot]) -> None:
    lines = draw(runs, height=24, width=40).splitlines()

    assert lines[0].split() == ["model", "state", "run", "wait", "out/s", "5xx"]
    assert lines[1].split() == ["llama3_8b", "ready", "256", "12", "4,096", "3"]


@pytest.mark.parametrize("height", [24, 200])
@pytest.mark.parametrize("width", [30, 40, 60, 250])
def test_no_line_is_wider_than_the_terminal(runs: list[Snapshot], width: int, height: int) -> None:
    assert max(len(line) for line in draw(runs, height=height, width=width).splitlines()) <= width


def test_a_narrow_block_keeps_every_number(tmp_path: Path) -> None:
    run = read_snapshot(RunFolder(make_run(tmp_path, "r", "ready", [sample()])), 24, NOW)

    words = [draw([run], width=width).split() for width in (40, 80)]

    assert words[0] == words[1]


@pytest.mark.parametrize("height", [24, 100])
def test_every_colour_can_be_read_on_black_and_on_white(runs: list[Snapshot], height: int) -> None:
    text = draw(runs, height=height, force_terminal=True, color_system="truecolor")

    styles = {int(code) for found in re.findall(r"\x1b\[([\d;]+)m", text) for code in found.split(";")}
    assert styles <= {0, 1, 2, 31, 32, 35}
    assert {31, 32, 35} <= styles


def test_a_terminal_without_unicode_gets_none(tmp_path: Path) -> None:
    run = read_snapshot(RunFolder(make_run(tmp_path, "r", "ready", [sample()])), 24, NOW)
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80)

    console.print(render([run], console))


def test_a_name_that_the_terminal_cannot_show_is_no_error(tmp_path: Path) -> None:
    path = make_run(tmp_path, "r", "ready", model="mödel")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}

    done = subprocess.run(command("once", path), capture_output=True, text=True, timeout=60, env=environment)

    assert (done.returncode, done.stderr, " model=m?del " in done.stdout) == (0, "", True)


def test_markup_in_a_name_is_shown_as_it_is(tmp_path: Path) -> None:
    path = make_run(tmp_path, "r", "failed", model="[red]m[/red]", cause="[bold]c", url=None)

    text = draw([read_snapshot(RunFolder(path), now=NOW)])
    assert ("[red]m[/red]" in text, "[bold]c" in text) == (True, True)


def test_no_runs_are_said_to_be_none() -> None:
    assert draw([]) == "no runs\n"


def test_once_in_a_pipe_writes_a_line_a_run_and_changes_nothing(tmp_path: Path) -> None:
    paths = make_all(tmp_path, datetime.now(UTC))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}

    done = subprocess.run(command("once", *paths), capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[1] for line in done.stdout.splitlines()] == [path.name for path in paths]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_json_is_one_object_a_run_with_its_newest_sample(tmp_path: Path) -> None:
    paths = make_all(tmp_path, datetime.now(UTC))
    stream = io.StringIO()

    assert show_top(paths, once=True, period_s=1, as_json=True, stream=stream) == 0

    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(run["run"], run["state"], run["is_up"], run["is_stale"], run["attempt"]) for run in found] == [
        ("a-ready", "ready", True, False, 1),
        ("b-idle", "ready", True, False, 1),
        ("c-hung", "hung", False, False, 1),
        ("d-silent", "ready", False, False, 1),
        ("e-stale", "ready", False, True, 1),
        ("f-starting", "starting", False, False, 3),
        ("g-failed", "failed", False, False, 1),
        ("h-stopped", "stopped", False, False, 1),
    ]
    assert found[0]["sample"]["engine"]["num_requests_running"] == 256
    assert found[4]["sample"] is None


def test_in_a_pipe_it_goes_on_until_nobody_reads(tmp_path: Path) -> None:
    path = make_run(tmp_path, "r", "ready", [sample()])
    process = subprocess.Popen(command("", path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    lines = [process.stdout.readline() for _ in range(3)]
    process.stdout.close()

    assert (process.wait(60), process.stderr.read()) == (0, b"")
    assert all(b" r state=" in line for line in lines)
    process.stderr.close()


@pytest.mark.parametrize(("term", "is_drawn"), [("xterm", True), ("dumb", False)])
def test_on_a_terminal_it_draws_until_ctrl_c_and_exits_with_0(tmp_path: Path, term: str, is_drawn: bool) -> None:
    path = make_run(tmp_path, "r", "ready", [sample()], now=datetime.now(UTC))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("", path),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call, no locks taken
        env=os.environ | {"TERM": term},
    )
    os.close(follower)
    try:
        text = _read(leader, lambda text: text.count(b"llama3_8b") >= 3)
        os.write(leader, b"\x03")
        text += _read(leader, lambda text: text.count(b"llama3_8b") > 30)
        exit_code = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(leader)

    assert (exit_code, b"Traceback" in text) == (0, False)
    assert (b"\x1b[" in text) == is_drawn
    assert text.rfind(b"\x1b[?25h") >= text.rfind(b"\x1b[?25l")


def test_a_run_that_is_deleted_meanwhile_is_unreadable_not_an_error(tmp_path: Path) -> None:
    stream = io.StringIO()

    assert show_top([tmp_path / "gone"], once=True, period_s=1, stream=stream) == 0
    assert "gone state=unreadable" in stream.getvalue()


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([0.0, 0.0], "▁▁"),
        ([0.0, 50.0, 100.0], "▁▅█"),
        ([None, 7.0], " █"),
        ([float(number) for number in range(30)], "▄▅▅▅▅▆▆▆▆▇▇▇▇███"),
    ],
)
def test_the_highest_of_the_newest_values_is_a_full_bar(values: list[float | None], bars: str) -> None:
    assert sparkline(values) == bars


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0:00"), (59.9, "0:59"), (3723, "1:02:03"), (359_999, "99:59:59"), (1_050_000, "12d 03h")],
)
def test_a_time_span_is_short(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (9999, "9,999"), (10_000, "10.0k"), (123_456, "123.5k"), (2.5e6, "2.5M"), (3e9, "3.0G")],
)
def test_a_count_has_six_characters_at_the_most(value: float, words: str) -> None:
    assert count(value) == words


def _take_terminal() -> None:
    """Make the terminal at standard input the one whose Ctrl-C this process gets."""
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background of a shell ignores it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(terminal: int, is_enough: Callable[[bytes], bool]) -> bytes:
    """Return what is written until it is enough, or the last process at the terminal is gone."""
    text = b""
    while not is_enough(text):
        assert select.select([terminal], [], [], 60)[0], text
        try:
            text += os.read(terminal, 65536)
        except OSError:  # how a terminal ends
            break
    return text
