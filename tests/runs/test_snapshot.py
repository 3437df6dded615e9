"""A run at one moment, as its records tell: whether it is up, stale, ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import UNREADABLE
from mixvllm.runs.samples import append_sample
from mixvllm.runs.snapshot import Snapshot, read_snapshot

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def look(
    folder: Path, sampled_s: float | None = 3.0, *, answers: bool = True, period_s: float = 5.0, **status: Any
) -> Snapshot:
    """Return a run that has been ready for 100 s and was sampled `sampled_s` ago, as it is recorded."""
    run = RunFolder(folder)
    facts = {"run": "r", "state": "ready", "since": ago(100), "ready_at": ago(100), "attempt_began_at": ago(130)}
    run.status.write_text(json.dumps(facts | {"attempt": 1, "model": "m"} | status))
    if sampled_s is not None:
        append_sample(run, {"time": ago(sampled_s), "period_s": period_s, "answers": answers, "engine": {"x": 1}})
    return read_snapshot(run, now=NOW)


def test_a_ready_server_that_answered_lately_is_up(tmp_path: Path) -> None:
    run = look(tmp_path)

    assert (run.is_up, run.is_stale, run.uptime_s, run.number("engine", "x")) == (True, False, 100.0, 1)


@pytest.mark.parametrize(
    ("sampled_s", "period_s", "is_up"), [(24, 5, True), (26, 5, False), (180, 60, True), (200, 60, False)]
)
def test_a_server_is_up_for_three_periods_and_a_bit_without_a_sample(
    tmp_path: Path, sampled_s: float, period_s: float, is_up: bool
) -> None:
    run = look(tmp_path, sampled_s, period_s=period_s, ready_at=ago(300), attempt_began_at=ago(300))

    assert (run.is_up, run.is_stale) == (is_up, not is_up)


def test_a_server_that_does_not_answer_is_not_up_and_not_stale_either(tmp_path: Path) -> None:
    run = look(tmp_path, answers=False)

    assert (run.is_up, run.is_stale) == (False, False)


@pytest.mark.parametrize(("ready_s", "is_stale"), [(2, False), (40, True)])
def test_the_first_sample_may_take_its_time_but_must_come(tmp_path: Path, ready_s: float, is_stale: bool) -> None:
    run = look(tmp_path, sampled_s=None, ready_at=ago(ready_s))

    assert (run.is_up, run.is_stale) == (False, is_stale)


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_an_ended_run_has_no_sample_of_now(tmp_path: Path, state: str) -> None:
    run = look(tmp_path, state=state)

    assert (run.is_ended, run.sample, run.is_stale, run.uptime_s) == (True, None, False, None)


def test_a_sample_of_the_server_before_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    run = look(tmp_path, 3.0, state="starting", ready_at=None, attempt_began_at=ago(1), attempt=2)

    assert (run.sample, run.is_stale, run.uptime_s, run.attempt) == (None, False, None, 2)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\0"])
def test_a_run_without_a_readable_status_is_said_to_be_unreadable(tmp_path: Path, content: str | None) -> None:
    run = RunFolder(tmp_path)
    if content is not None:
        run.status.write_text(content)

    found = read_snapshot(run)

    assert (found.state, found.run, found.is_up, found.is_ended) == (UNREADABLE, tmp_path.name, False, False)


@pytest.mark.parametrize("value", ["1", None, True, [], {}])
def test_what_is_no_number_is_not_told(tmp_path: Path, value: Any) -> None:
    look(tmp_path)
    append_sample(RunFolder(tmp_path), {"time": ago(1), "answers": True, "engine": {"x": value}, "rates": 3, "gpus": 1})

    run = read_snapshot(RunFolder(tmp_path), now=NOW)

    assert (run.number("engine", "x"), run.number("rates", "x"), run.gpus()) == (None, None, [])
