"""What a run shows on a terminal and off it."""

from __future__ import annotations

import io
import re

import pytest

from mixvllm.cli.screen import PHASE_WORDS, Screen
from mixvllm.runs.journal import Event
from mixvllm.vllm.phases import PHASES

START = [
    Event("spawned", 0.0, {"pid": 7, "port": 8000}),
    Event("phase", 2.5, {"phase": "weights"}),
]
STOP = [
    Event("draining", 9.0, {"timeout_s": 30}),
    Event("stopped", 9.5, {"exit_code": 0, "was_killed": False}),
]


def show(events: list[Event], *, is_terminal: bool = False) -> str:
    text = io.StringIO()
    screen = Screen(is_serving=True, stream=text, is_terminal=is_terminal)
    for event in events:
        screen(event)
    screen.close()
    return text.getvalue()


def test_off_a_terminal_each_phase_is_a_plain_line() -> None:
    assert show(START + STOP).splitlines() == [
        "   0.0 s  importing vLLM (process 7)",
        "   2.5 s  loading weights",
        "stopping the server (requests in flight get 30 s; once more Ctrl-C to kill)",
        "stopped; nothing is left running",
    ]


def test_on_a_terminal_one_line_shows_phase_and_time() -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", show(START, is_terminal=True))

    assert re.search(r"loading weights 0:00:0\d", text)
    assert "\n".join(text.split("\r")).count("importing vLLM (process") == 0


def test_a_server_that_had_to_be_killed_is_said_so() -> None:
    killed = Event("stopped", 60.0, {"exit_code": -9, "was_killed": True})

    assert show([killed]) == "killed at the deadline; nothing is left running\n"


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_has_words(phase: str) -> None:
    assert PHASE_WORDS[phase]


def test_every_line_fits_a_narrow_terminal() -> None:
    assert max(len(line) for line in show(START + STOP).splitlines()) <= 80
