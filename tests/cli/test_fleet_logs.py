"""The log of a run: its end, and what comes until the run has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixvllm.cli.fleet.logs import show_log
from mixvllm.errors import MixvllmError
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Journal
from mixvllm.server.processes import identify
from tests.written_runs import DEAD, role, wait_for, write_run, write_status

FOLLOW = "import sys; from mixvllm.cli.fleet.logs import show_log; raise SystemExit(show_log('last', follow=True, {}))"
MEASURED = """
import resource
from mixvllm.cli.fleet.logs import show_log
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
show_log("last", num_lines=10**9)
open("grown_kib", "w").write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""

Follow = Callable[..., "Following"]


class Following:
    """`mixvllm logs -f` in a process of its own, its output in a file."""

    def __init__(self, arguments: str) -> None:
        self._file = Path("followed").open("wb")  # noqa: SIM115 - closed by `end`
        self.process = subprocess.Popen(
            [sys.executable, "-c", FOLLOW.format(arguments)], stdout=self._file, stderr=self._file
        )

    @property
    def shown(self) -> str:
        return Path("followed").read_text()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._file.close()


@pytest.fixture
def follow() -> Iterator[Follow]:
    started: list[Following] = []

    def start(arguments: str = "") -> Following:
        started.append(Following(arguments))
        return started[-1]

    yield start
    for one in started:
        one.end()


def living(name: str = "a") -> RunFolder:
    own = identify(os.getpid())
    assert own is not None
    return write_run(name, state="ready", supervisor=role(own))


def append(run: RunFolder, data: bytes) -> None:
    with run.server_log.open("ab") as file:
        file.write(data)


@pytest.mark.parametrize(
    ("num_lines", "log", "shown"),
    [
        (2, b"a\nb\nc\n", b"b\nc\n"),
        (2, b"a\nb\nc", b"b\nc"),
        (5, b"a\nb\n", b"a\nb\n"),
        (0, b"a\nb\n", b""),
        (1, b"", b""),
        (1, b"\n", b"\n"),
        (2, b"\n\n\n", b"\n\n"),
        (1, b"\xff\x00\x1b[2Ja\r50%\r60%\n", b"\xff\x00\x1b[2Ja\r50%\r60%\n"),
        (3, b"x" * 200_000 + b"\nb\n" + b"c" * 70_000 + b"\n", b"x" * 200_000 + b"\nb\n" + b"c" * 70_000 + b"\n"),
        (2, b"x" * 65_536 + b"\n" + b"y" * 65_535 + b"\nz\n", b"y" * 65_535 + b"\nz\n"),
    ],
    ids=range(10),
)
def test_the_last_lines_are_shown_byte_for_byte(
    capfdbinary: pytest.CaptureFixture[bytes], num_lines: int, log: bytes, shown: bytes
) -> None:
    append(living(), log)

    code = show_log("last", num_lines=num_lines)

    assert (code, capfdbinary.readouterr().out) == (0, shown)


def test_a_log_of_any_size_takes_little_memory() -> None:
    run = living()
    with run.server_log.open("wb") as file:
        file.truncate(64 << 20)  # one line without an end
    subprocess.run([sys.executable, "-c", MEASURED], check=True, stdout=subprocess.DEVNULL)

    assert int(Path("grown_kib").read_text()) < 16 << 10


def test_a_terminal_gets_colours_and_no_other_commands() -> None:
    append(living(), b"\x1b[32mgreen\x1b[0m \x1b[2J\x1b]0;title\x07 \xc2\x9b1m \xff\n")
    script = "import pty, sys; pty.spawn([sys.executable, '-c', {!r}])"
    show = "from mixvllm.cli.fleet.logs import show_log; show_log('last')"

    done = subprocess.run([sys.executable, "-c", script.format(show)], capture_output=True)

    assert done.stdout == b"\x1b[32mgreen\x1b[0m [2J]0;title 1m \xff\r\n"


def test_what_comes_is_followed_over_a_new_start_until_the_run_has_ended(follow: Follow) -> None:
    run = living()
    append(run, b"one\ntwo\n")
    following = follow("num_lines=1")
    wait_for(lambda: following.shown == "two\n")
    append(run, b"thr")
    wait_for(lambda: following.shown == "two\nthr")
    write_status(run, state="starting", attempt=2, supervisor=json.loads(run.status.read_text())["supervisor"])
    append(run, b"ee\n")
    wait_for(lambda: following.shown == "two\nthree\n")
    write_status(run, state="stopped")

    code = following.process.wait(60)

    assert (code, following.shown) == (0, "two\nthree\na was stopped\n")


def test_what_is_printed_last_is_shown_though_the_run_has_ended(follow: Follow) -> None:
    run = living()
    append(run, b"the end\n")
    write_status(run, state="failed", cause="out of memory")

    following = follow()

    assert (following.process.wait(60), following.shown.splitlines()[:2]) == (0, ["the end", "a failed: out of memory"])


def test_a_log_that_is_not_there_yet_is_waited_for(follow: Follow) -> None:
    run = living()
    following = follow()
    append(run, b"first\n")

    wait_for(lambda: following.shown == "first\n")


def test_a_log_that_was_begun_anew_is_shown_from_its_beginning(follow: Follow) -> None:
    run = living()
    append(run, b"a long line\n")
    following = follow()
    wait_for(lambda: following.shown == "a long line\n")
    run.server_log.write_bytes(b"new\n")

    wait_for(lambda: following.shown == "a long line\nnew\n")


def test_following_a_run_that_is_lost_ends(follow: Follow) -> None:
    write_run("a", state="ready", supervisor=role(DEAD), guardian=role(DEAD))
    following = follow()

    assert following.process.wait(60) == 0
    assert following.shown.startswith("a is lost: launcher and guardian were killed")


def test_ctrl_c_ends_following_with_0(follow: Follow) -> None:
    run = living()
    append(run, b"x\n")
    following = follow()
    wait_for(lambda: following.shown == "x\n")
    following.process.send_signal(signal.SIGINT)

    assert (following.process.wait(60), following.shown) == (0, "x\n")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    append(living(), b"x" * (4 << 20))
    show = [sys.executable, "-c", "from mixvllm.cli.fleet.logs import show_log; raise SystemExit(show_log('last'))"]
    process = subprocess.Popen(show, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()

    assert (process.wait(60), error) == (0, b"")


def test_a_run_that_has_printed_nothing_yet_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    living()

    code = show_log("last")

    assert (code, capsys.readouterr().err.splitlines()[0]) == (0, "a has printed nothing yet: it is ready")


def test_a_run_that_ended_without_a_log_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run("a", state="failed", cause="no vLLM")

    code = show_log("last")

    assert (code, capsys.readouterr().err.splitlines()[:2]) == (
        1,
        [f"error: there is no {run.server_log}", "a failed: no vLLM"],
    )


def test_an_unknown_run_is_an_error() -> None:
    with pytest.raises(MixvllmError, match="no run 'x'"):
        show_log("x")


def test_events_are_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    run = living()
    journal = Journal(run)
    for event in (Event("spawned", 0, {"pid": 7, "port": 8000}), Event("failed", 3.25, {"cause": "x\n  more"})):
        journal(event)
    with run.events.open("a") as file:
        file.write('not json\n[1]\n{"event": "half')

    show_log("last", events=True)

    lines = capfd.readouterr().out.splitlines()
    assert [line[19:] for line in lines[:2]] == [
        "          0 s  spawned     attempt=1  pid=7  port=8000",
        "       3.25 s  failed      attempt=1  cause=x",
    ]
    assert lines[2:] == ["not json", "[1]"]
