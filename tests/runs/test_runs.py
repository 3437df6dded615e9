"""The run folder, and files that are whole or absent."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import pytest

from mixvllm.runs.files import write_json, write_text
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Journal


def test_a_run_folder_is_named_by_date_and_time_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "outputs", datetime(2026, 1, 2, 3, 4, 5))

    modes = [path.stat().st_mode & 0o777 for path in (folder.path, folder.path.parent)]
    assert folder.path.relative_to(tmp_path).as_posix().startswith("outputs/2026-01-02/03-04-05-")
    assert modes == [0o700, 0o700]


def test_two_runs_of_the_same_second_have_two_folders(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2)

    assert RunFolder.create(tmp_path, moment) != RunFolder.create(tmp_path, moment)


def test_a_written_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    write_json(tmp_path / "a.json", {"a": "ü"})

    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": "ü"}
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")

    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "new \udc80")

    assert (os.listdir(tmp_path), (tmp_path / "a").read_text()) == (["a"], "old")


def test_events_are_appended_and_the_state_follows(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    journal = Journal(folder)

    states = []
    for event in (Event("spawned", 0, {"pid": 7}), Event("ready", 2.5, {}), Event("failed", 3, {"cause": "x"})):
        journal(event)
        states.append(json.loads(folder.status.read_text())["state"])

    lines = [json.loads(line) for line in folder.events.read_text().splitlines()]
    assert states == ["starting", "ready", "failed"]
    assert [(line["event"], line["elapsed_s"]) for line in lines] == [("spawned", 0), ("ready", 2.5), ("failed", 3)]
    assert folder.events.stat().st_mode & 0o777 == 0o600
