"""A record counts only where nobody else can have written it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mixvllm.errors import UntrustedFile
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import MAX_BYTES
from mixvllm.runs.trust import read_record

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def record(folder: Path) -> Path:
    path = folder / "status.json"
    path.write_text('{"state": "ready"}')
    path.chmod(0o600)
    return path


def give_away(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(path, NOBODY, -1)


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(UntrustedFile) as raised:
        read()
    return str(raised.value)


def test_a_record_of_ours_is_read(record: Path) -> None:
    assert read_record(record) == {"state": "ready"}


def test_a_folder_that_we_make_is_ours_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = RunFolder.create(tmp_path / "outputs")
    finally:
        os.umask(before)

    write_json(made.status, {"state": "ready"})
    assert read_record(made.status) == {"state": "ready"}


@pytest.mark.parametrize(("mode", "who"), [(0o620, "its group"), (0o602, "everybody"), (0o666, "everybody")])
def test_a_record_that_others_can_write_is_refused(record: Path, mode: int, who: str) -> None:
    record.chmod(mode)

    assert refusal(lambda: read_record(record)) == (
        f"{record} can be written by {who} (mode {mode:04o})\n"
        f"  next: look whether it is as you left it; then: chmod go-w {record}"
    )


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(record: Path, mode: int) -> None:
    record.parent.chmod(mode)

    assert f"{record.parent} can be written by" in refusal(lambda: read_record(record))


def test_a_record_that_others_can_only_read_counts(record: Path) -> None:
    record.chmod(0o644)
    record.parent.chmod(0o755)

    assert read_record(record) == {"state": "ready"}


def test_a_record_of_somebody_else_is_refused(record: Path) -> None:
    give_away(record)

    assert f"{record} belongs to nobody, not to you" in refusal(lambda: read_record(record))


def test_a_folder_of_somebody_else_is_refused_with_all_that_is_in_it(record: Path) -> None:
    give_away(record.parent)

    assert f"{record.parent} belongs to nobody, not to you" in refusal(lambda: read_record(record))


def test_a_link_in_the_place_of_a_record_is_refused(record: Path, tmp_path: Path) -> None:
    real = record.rename(tmp_path / "elsewhere.json")
    record.symlink_to(real)

    assert refusal(lambda: read_record(record)).startswith(f"{record} is a link to {real}: ours never is\n  next: ")


def test_a_link_in_the_place_of_a_folder_is_refused(record: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(record.parent)

    assert f"{link} is a link to {record.parent}" in refusal(lambda: read_record(link / record.name))


def test_a_folder_below_a_link_counts(record: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    assert read_record(tmp_path / "link" / "run" / "status.json") == {"state": "ready"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "holds no JSON: "),
        ('{"state": ', "holds no JSON: "),
        ("[1]", "holds no JSON object"),
        ("[" * 100_000, "holds no JSON: nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "holds no JSON: "),
        ("\ud800", "holds no JSON: "),
    ],
)
def test_what_is_no_json_object_is_refused(record: Path, text: str, part: str) -> None:
    record.write_bytes(text.encode("utf-8", "surrogatepass"))

    assert part in refusal(lambda: read_record(record))


def test_a_huge_record_is_refused(record: Path) -> None:
    record.write_text(json.dumps({"a": "x" * MAX_BYTES}))

    assert f"{record} is larger than 8 MiB" in refusal(lambda: read_record(record))


def test_a_pipe_in_the_place_of_a_record_is_refused_without_waiting(record: Path) -> None:
    record.unlink()
    os.mkfifo(record)

    reader = threading.Thread(target=lambda: refusal(lambda: read_record(record)), daemon=True)
    reader.start()
    reader.join(10)

    assert not reader.is_alive()


def test_a_folder_in_the_place_of_a_record_is_refused(record: Path) -> None:
    record.unlink()
    record.mkdir()

    assert "is no plain file" in refusal(lambda: read_record(record))


def test_a_file_in_the_place_of_a_folder_is_refused(record: Path) -> None:
    assert f"{record} is no folder" in refusal(lambda: read_record(record / "status.json"))


def test_what_is_not_there_is_told_apart(folder: Path) -> None:
    for record in (folder / "none.json", folder / "none" / "status.json"):
        with pytest.raises(FileNotFoundError, match="none"):
            read_record(record)
