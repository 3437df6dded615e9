"""Secrets are overwritten in a log while it is written; all else in it stays as it was printed."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm.runs.scrub import CHUNK_BYTES, MAX_BYTES, OVERLAP_BYTES, LogScrubber

SECRET = 'p"ss/w0rd-of-mine'
STARS = "*" * len(SECRET)
HF = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def append(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_secret_is_overwritten_and_the_rest_is_left(log: Path) -> None:
    append(log, f"one\nkey {SECRET} ü\nthree\n")

    found = LogScrubber(log, [SECRET]).scrub()

    assert (found, log.read_text(encoding="utf-8")) == (1, f"one\nkey {STARS} ü\nthree\n")


def test_every_form_of_a_secret_is_overwritten_with_its_own_length(log: Path) -> None:
    forms = [json.dumps(SECRET), quote(SECRET), repr(SECRET)]
    append(log, "\n".join(forms))

    LogScrubber(log, [SECRET]).scrub()

    assert [line.strip("\"'") for line in log.read_text().splitlines()] == [
        "*" * len(form.strip("\"'")) for form in forms
    ]


def test_what_looks_like_a_secret_is_overwritten_too(log: Path) -> None:
    append(log, f"{HF}\nhttps://me:pa55@host\n'api_key': 'abcdefgh'\n")

    found = LogScrubber(log, []).scrub()

    assert (found, log.read_text()) == (3, f"hf_{'*' * 34}\nhttps://me:****@host\n'api_key': '********'\n")


@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_secret_is_found_however_it_is_cut_into_writes(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    log = tmp_path_factory.mktemp("cut") / "server.log"
    text = f"a disk-0123456789 b {SECRET} c {HF} d Authorization: Bearer abcdefghij1234 e 'api_key': 'abcdefghijkl' f"
    expected = text.replace(SECRET, STARS).replace(HF[3:], "*" * 34).replace("abcdefghij1234", "*" * 14)
    scrubber = LogScrubber(log, [SECRET])

    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True):
        append(log, text[begin:end])
        scrubber.scrub()

    assert log.read_text() == expected.replace("abcdefghijkl", "*" * 12)


def test_a_secret_across_two_chunks_is_found(log: Path) -> None:
    append(log, "x" * (CHUNK_BYTES - 5) + f" {SECRET} {'y' * CHUNK_BYTES}")

    found = LogScrubber(log, [SECRET]).scrub()

    assert (found, SECRET in log.read_text()) == (1, False)


@pytest.mark.parametrize("num_before", range(6))
def test_a_word_that_the_second_look_cuts_is_not_taken_for_a_secret(log: Path, num_before: int) -> None:
    name = "disk-" + "a1b2c3d4" * 4  # without its first letters it would look like a key
    append(log, "x" * 7 + " " + name + " " + "y" * (OVERLAP_BYTES - len(name) - 1 + num_before))
    scrubber = LogScrubber(log, [])
    found = [scrubber.scrub()]
    append(log, "z")

    assert [*found, scrubber.scrub()] == [0, 0]


def test_only_what_was_added_is_looked_at(log: Path) -> None:
    append(log, f"{SECRET}{'x' * OVERLAP_BYTES}\n")
    scrubber = LogScrubber(log, [SECRET], start=log.stat().st_size)
    append(log, f"more {SECRET}\n")

    assert (scrubber.scrub(), scrubber.scrub(), log.read_text().count(SECRET)) == (1, 0, 1)


OPENED = """
import sys
from pathlib import Path
from mixvllm.runs.scrub import LogScrubber
scrubber, opened = LogScrubber(Path(sys.argv[1]), []), []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
for _ in range(3):
    scrubber.scrub()
    print(opened.count(sys.argv[1]))
"""


def test_where_nothing_was_added_the_log_is_not_even_opened(log: Path) -> None:
    append(log, "one line\n")

    done = subprocess.run([sys.executable, "-c", OPENED, str(log)], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["1", "1", "1"]


def test_a_flood_is_caught_up_with_in_later_calls(log: Path) -> None:
    append(log, "x" * (2 * MAX_BYTES) + SECRET)
    scrubber = LogScrubber(log, [SECRET])

    found = [scrubber.scrub() for _ in range(4)]

    assert found == [0, 0, 1, 0]


def test_the_last_call_reads_everything(log: Path) -> None:
    append(log, "x" * (2 * MAX_BYTES) + SECRET)

    assert LogScrubber(log, [SECRET]).scrub(until_end=True) == 1


def test_a_log_that_was_replaced_or_cut_is_begun_anew(log: Path, tmp_path: Path) -> None:
    append(log, f"a long line before {SECRET}")
    scrubber = LogScrubber(log, [SECRET])
    scrubber.scrub()

    log.write_text(SECRET)
    cut = (scrubber.scrub(), log.read_text())
    (tmp_path / "new").write_text(f"a long line before {SECRET}")
    (tmp_path / "new").rename(log)
    replaced = (scrubber.scrub(), SECRET in log.read_text())

    assert (cut, replaced) == ((1, STARS), (1, False))


def test_a_missing_log_is_passed_over(log: Path) -> None:
    scrubber = LogScrubber(log, [SECRET])
    before = scrubber.scrub()
    append(log, SECRET)

    assert (before, scrubber.scrub()) == (0, 1)


def test_a_link_a_folder_and_a_pipe_are_passed_over(log: Path, tmp_path: Path) -> None:
    target = tmp_path / "of somebody"
    target.write_text(SECRET)
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")

    found = [LogScrubber(tmp_path / name, [SECRET]).scrub() for name in ("link", "folder", "pipe")]

    assert (found, target.read_text()) == ([0, 0, 0], SECRET)


@contextmanager
def full_disk(free_from: int) -> Iterator[None]:
    """Let the kernel refuse every write behind the byte `free_from` of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_from, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_is_tried_again(log: Path) -> None:
    append(log, f"{SECRET} {SECRET}")
    scrubber = LogScrubber(log, [SECRET])

    with full_disk(len(SECRET) + 1):
        found = [scrubber.scrub(), scrubber.scrub()]
    text = log.read_text()

    assert (found, text) == ([1, 0], f"{STARS} {SECRET}")
    assert (scrubber.scrub(), log.read_text(), scrubber.scrub()) == (1, f"{STARS} {STARS}", 0)


WRITER = """
import os, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
secret = sys.stdin.read()
for number in range(20000):
    os.write(log, f"line {number}, key={secret}, end\\n".encode())
"""


def test_a_writer_that_appends_meanwhile_loses_nothing(log: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(log)], stdin=subprocess.PIPE)
    scrubber = LogScrubber(log, [SECRET])
    assert writer.stdin is not None
    writer.stdin.write(SECRET.encode())
    writer.stdin.close()

    found = 0
    while writer.poll() is None:
        found += scrubber.scrub()
    found += scrubber.scrub(until_end=True)

    assert log.read_text() == "".join(f"line {number}, key={STARS}, end\n" for number in range(20000))
    assert found == 20000
