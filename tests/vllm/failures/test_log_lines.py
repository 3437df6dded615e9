"""Reading a log: numbered, cleaned, in bounded memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from mixvllm.vllm.failures.log_lines import MAX_LINE_CHARS, PART_BYTES, Where, parse_line, read_lines

LINE = b"(EngineCore pid=7) ERROR 11-22 14:37:07 [core.py:1510] ValueError: no\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


@pytest.mark.parametrize(
    ("raw", "process", "text"),
    [
        ("(EngineCore_DP1 pid=7) ERROR 11-22 14:37:07 [core.py:15] no", "EngineCore_DP1", "no"),
        ("\x1b[0;36m(Worker_PP0_TP1 pid=7)\x1b[0;0m ERROR 11-22 14:37:07 [a.py:1] no", "Worker_PP0_TP1", "no"),
        ("(APIServer pid=7) Traceback (most recent call last):", "APIServer", "Traceback (most recent call last):"),
        ("ERROR 11-22 14:37:07 [core.py:15] no", "", "no"),
        ("ERROR:    [Errno 98] no", "", "[Errno 98] no"),
        ("ValueError: no", "", "ValueError: no"),
    ],
)
def test_a_prefix_tells_who_printed_a_line(raw: str, process: str, text: str) -> None:
    line = parse_line(1, raw)

    assert (line.process, line.text, line.where) == (process, text, "message")


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ("(EngineCore pid=7) ERROR 11-22 14:37:07 [core.py:1510]     raise ValueError('no')", "source"),
        ('(EngineCore pid=7) ERROR 11-22 14:37:07 [core.py:1510]   File "/venv/core.py", line 1, in run', "source"),
        ("    raise ValueError('no')", "source"),
        ("  Value error, no", "message"),
        ("(EngineCore pid=7) WARNING 11-22 14:37:07 [core.py:1510] no", "warning"),
        ("(EngineCore pid=7) INFO 11-22 14:37:07 [core.py:1510] no", "information"),
        ('INFO:     127.0.0.1:45086 - "GET /health HTTP/1.1" 503 Service Unavailable', "information"),
    ],
)
def test_a_line_is_told_apart_by_what_it_is(raw: str, where: Where) -> None:
    assert parse_line(1, raw).where == where


def test_escapes_and_control_characters_never_reach_a_terminal() -> None:
    raw = "\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07 \x1b]8;;http://a\x1b\\link \x9b5mold \x00nul \x1b(Bend"

    assert [character for character in parse_line(1, raw).shown if not character.isprintable()] == []


def test_the_parts_that_a_progress_bar_wrote_over_each_other_share_a_number(log: Path) -> None:
    log.write_bytes(b"one\n  0%\r 50%\r100%\nthree\n")

    assert [(line.number, line.shown) for line in read_lines(log)] == [
        (1, "one"),
        (2, "  0%"),
        (2, " 50%"),
        (2, "100%"),
        (3, "three"),
    ]


def test_a_long_log_is_read_at_both_ends_and_numbered_through(log: Path) -> None:
    num_lines = 4 * PART_BYTES // len(LINE)
    log.write_bytes(LINE * num_lines)

    lines = read_lines(log)

    assert (lines[0].number, lines[-1].number) == (1, num_lines)
    assert len(lines) < num_lines * 0.51
    assert len({line.number for line in lines}) == len(lines)


def test_numbers_after_the_gap_are_those_of_the_file(log: Path) -> None:
    begin, middle = b"first\n", b"filler\n" * (3 * PART_BYTES // 7)
    log.write_bytes(begin + middle + b"the cause\nlast\n")

    assert next(line.number for line in read_lines(log) if line.shown == "the cause") == 2 + 3 * PART_BYTES // 7


def test_memory_is_bounded_however_long_a_log_or_a_line_is(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(300 << 20)
        file.seek(0, 2)
        file.write(b"\n" + LINE)
    tracemalloc.start()

    lines = read_lines(log)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (lines[-1].text, lines[-1].number) == ("ValueError: no", 2)
    assert peak < 12 * PART_BYTES


def test_a_line_is_cut(log: Path) -> None:
    log.write_bytes(b"x" * 1_000_000 + b"\nnext\n")

    assert [len(line.shown) for line in read_lines(log)] == [MAX_LINE_CHARS, 4]


def test_bytes_that_are_no_text_are_read_as_such(log: Path) -> None:
    log.write_bytes(b"\xff\xfe\x00 end\n")

    assert [line.shown for line in read_lines(log)] == ["\ufffd\ufffd end"]


def test_an_offset_in_the_middle_of_a_line_reads_its_rest(log: Path) -> None:
    log.write_bytes(b"one\ntwo\nthree\n")

    assert [(line.number, line.shown) for line in read_lines(log, start=5)] == [(2, "wo"), (3, "three")]


@pytest.mark.parametrize("start", [0, 99])
def test_an_empty_log_or_an_offset_beyond_it_gives_no_lines(log: Path, start: int) -> None:
    log.write_bytes(b"")

    assert read_lines(log, start) == []
