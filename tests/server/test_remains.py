"""Temporary folders that no server needs are known from those that one does."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixvllm.machine.folders import private_tmp
from mixvllm.server.fleet import look_at_all
from mixvllm.server.processes import identify
from mixvllm.server.remains import stale_temporary_folders
from tests.written_runs import DEAD, role, write_run

LONG_AGO = (0, 0)


@pytest.fixture
def tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the launchers' folder for temporary files, in one of the test's own with a short path."""
    with tempfile.TemporaryDirectory(prefix="mx", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield private_tmp()


def make(tmp: Path, name: str, *, is_old: bool = False) -> Path:
    folder = tmp / name
    folder.mkdir()
    (folder / "some").mkdir()
    if is_old:
        os.utime(folder, LONG_AGO)
    return folder


def own() -> dict[str, int]:
    process = identify(os.getpid())
    assert process is not None
    return role(process)


def test_the_folder_of_a_run_that_ended_is_stale(tmp: Path) -> None:
    folder = make(tmp, "a")
    write_run("a", state="stopped", tmp_dir=str(folder))

    assert stale_temporary_folders(look_at_all()) == [folder]


def test_the_folder_of_a_lost_run_is_stale(tmp: Path) -> None:
    folder = make(tmp, "a")
    write_run("a", state="ready", tmp_dir=str(folder), supervisor=role(DEAD), guardian=role(DEAD))

    assert stale_temporary_folders(look_at_all()) == [folder]


@pytest.mark.parametrize("status", [{"host": "elsewhere"}, {}], ids=["another machine", "living"])
def test_the_folder_of_a_run_that_may_need_it_is_not(tmp: Path, status: dict[str, str]) -> None:
    folder = make(tmp, "a", is_old=True)
    write_run("a", state="ready", tmp_dir=str(folder), supervisor=own(), **status)

    assert stale_temporary_folders(look_at_all()) == []


def test_an_old_folder_that_no_run_claims_is_stale(tmp: Path) -> None:
    old, young = make(tmp, "old", is_old=True), make(tmp, "young")

    assert (stale_temporary_folders([]), young.exists()) == ([old], True)


def test_an_old_folder_with_a_file_that_is_open_is_not(tmp: Path) -> None:
    folder = make(tmp, "old", is_old=True)
    with (folder / "some" / "file").open("w"):
        os.utime(folder, LONG_AGO)

        assert stale_temporary_folders([]) == []


def test_an_old_folder_with_a_socket_that_is_bound_is_not(tmp: Path) -> None:
    folder = make(tmp, "old", is_old=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "some" / "socket"))
        os.utime(folder, LONG_AGO)

        assert stale_temporary_folders([]) == []


def test_files_and_links_are_no_temporary_folders(tmp: Path, tmp_path: Path) -> None:
    (tmp / "port-8000.lock").touch()
    os.utime(tmp / "port-8000.lock", LONG_AGO)
    (tmp / "link").symlink_to(tmp_path)
    os.utime(tmp / "link", LONG_AGO, follow_symlinks=False)

    assert stale_temporary_folders([]) == []
