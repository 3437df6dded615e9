"""What a sweep shows while it runs, on terminals of all kinds and off them."""

from __future__ import annotations

import io
import os
import pty
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.cli.terminal import is_live, width_of
from mixvllm.sweep.plan import PlannedPoint, Shape

ESCAPE = "\x1b"
KEY = "a1b2c3d4e5f6a7b8"


def point(index: int) -> PlannedPoint:
    return PlannedPoint(
        index=index,
        labels={"workload.max_concurrency": 2**index},
        overrides=(),
        model="some/model",
        content_hash=f"{index:016x}",
        server_key=KEY,
        shape=Shape(1, 0),
        num_repeats=1,
    )


def ended(index: int, verdict: str = "ok", reason: str | None = None, **metrics: float) -> dict[str, Any]:
    return {
        "event": "repeat_ended",
        "point": f"{index:016x}",
        "repeat": 1,
        "server_key": KEY,
        "verdict": verdict,
        "reason": reason,
        "duration_s": 2.0,
        "start": {"kind": "cold", "ready_s": 5.0},
        "server_run": "run",
        "metrics": metrics,
    }


HISTORY: list[dict[str, Any]] = [
    {"event": "group_began", "server_key": KEY},
    {"event": "server", "server_key": KEY, "phase": "weights"},
    {"event": "server", "server_key": KEY, "phase": "ready"},
    {"event": "repeat_began", "point": f"{0:016x}", "repeat": 1},
    ended(0, output_tokens_per_s=1234.5),
    {"event": "repeat_began", "point": f"{1:016x}", "repeat": 1},
    ended(1, "failed", "out of memory"),
    {"event": "repeat_began", "point": f"{2:016x}", "repeat": 1},
]


def play(stream: Any) -> None:
    screen = SweepScreen([point(index) for index in range(3)], [], num_servers=1, num_slots=1, stream=stream)
    for message in HISTORY:
        screen(message)
    screen.close()


class Terminal:
    """A pseudoterminal of some width, and what was written to it."""

    def __init__(self, columns: int) -> None:
        self._master, slave = pty.openpty()
        self._set_width(slave, columns)
        self.stream = os.fdopen(slave, "w", encoding="utf-8")

    @staticmethod
    def _set_width(descriptor: int, columns: int) -> None:
        import fcntl
        import struct
        import termios

        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def text(self) -> str:
        """Return all that was written; nothing can be any more."""
        self.stream.close()
        data = b""
        with suppress(OSError):  # how a terminal ends
            while block := os.read(self._master, 65536):
                data += block
        return data.decode()

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@pytest.fixture
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLUMNS", raising=False)
    found = Terminal(request.param)
    yield found
    found.close()


def test_off_a_terminal_there_are_plain_lines_with_every_number() -> None:
    stream = io.StringIO()

    play(stream)

    assert stream.getvalue().splitlines() == [
        "server a1b2c3: starting; 0/3 points",
        "server a1b2c3: ready",
        "1/3  point 0  workload.max_concurrency=1  repeat 1: ok, 1,234 tokens/s (2.0 s)",
        "2/3  point 1  workload.max_concurrency=2  repeat 1: failed: out of memory (2.0 s)",
    ]


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_a_dumb_terminal_gets_plain_lines(terminal: Terminal, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM")

    play(terminal.stream)

    text = terminal.text()
    assert ESCAPE not in text
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("terminal", [40, 80, 300], indirect=True)
def test_on_a_terminal_no_line_is_wider_than_it(terminal: Terminal) -> None:
    width = width_of(terminal.stream)

    play(terminal.stream)

    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", terminal.text())
    live = [line for line in re.split(r"[\r\n]+", drawn) if line and "repeat 1: " not in line]
    assert max(len(line) for line in live) < width
    assert "2/3 points, 1 failed" in drawn
    assert "best 1,234 tokens/s (point 0)" in drawn
    assert re.search(r"point 2: repeat 1, \d+ s", drawn)


@pytest.mark.parametrize("terminal", [80], indirect=True)
def test_lines_on_a_terminal_have_no_colour_of_their_own(terminal: Terminal) -> None:
    """They can be read on any background, and there is nothing for NO_COLOR to take away."""
    play(terminal.stream)

    codes = {code for found in re.findall(r"\x1b\[([\d;]*)m", terminal.text()) for code in found.split(";")}
    assert codes <= {"", "0"}


@pytest.mark.parametrize("terminal", [33], indirect=True)
def test_the_width_is_that_of_the_terminal_it_is_written_to(terminal: Terminal) -> None:
    assert width_of(terminal.stream) == 33
    assert width_of(io.StringIO()) == 80


def test_a_file_is_not_live(tmp_path: Any) -> None:
    with (tmp_path / "log").open("w") as file:
        assert not is_live(file)
