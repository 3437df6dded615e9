"""Reading a log that grows."""

from __future__ import annotations

from pathlib import Path

from mixvllm.server.log import LogReader, tail


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_only_whole_new_lines_are_given(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    reader = LogReader(log)
    seen = [reader.new_lines()]

    for data in (b"one\ntw", b"o\n", b""):
        append(log, data)
        seen.append(reader.new_lines())

    assert seen == [[], ["one"], ["two"], []]


def test_a_progress_bar_counts_as_lines_and_colours_are_dropped(tmp_path: Path) -> None:
    append(tmp_path / "server.log", b"  0%\r 50%\r\x1b[32m100%\x1b[0m\n")

    assert LogReader(tmp_path / "server.log").new_lines() == ["  0%", " 50%", "100%"]


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path) -> None:
    append(tmp_path / "server.log", b"x" * 10_000_000)
    reader = LogReader(tmp_path / "server.log")

    lines = [line for _ in range(12) for line in reader.new_lines()]
    append(tmp_path / "server.log", b"\n")

    assert (lines, len(reader.new_lines()[0])) == ([], 4096)


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    append(tmp_path / "server.log", b"\xff\xfe end\n")

    assert tail(tmp_path / "server.log") == ["\ufffd\ufffd end"]


def test_the_tail_is_the_last_lines_that_hold_text(tmp_path: Path) -> None:
    append(tmp_path / "server.log", b"".join(b"line %d\n\n" % number for number in range(100)))

    assert tail(tmp_path / "server.log", 2) == ["line 98", "line 99"]


def test_a_log_that_is_not_there_has_no_tail(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == []
