"""The samples of a run: whole lines, quickly found from the end, bounded."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.samples import append_sample, last_sample, last_samples, read_samples


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def write(folder: RunFolder, count: int, **more: Any) -> None:
    for number in range(count):
        append_sample(folder, {"n": number, **more})


def numbers(samples: Any) -> list[int]:
    return [sample["n"] for sample in samples]


def test_samples_are_read_back_in_order(folder: RunFolder) -> None:
    write(folder, 3, model="ü\n")

    assert list(read_samples(folder)) == [{"n": number, "model": "ü\n"} for number in range(3)]
    assert folder.samples.stat().st_mode & 0o777 == 0o600


def test_a_run_without_samples_has_none(folder: RunFolder) -> None:
    assert (list(read_samples(folder)), last_sample(folder), last_samples(folder, 3)) == ([], None, [])


@given(lengths=st.lists(st.integers(0, 40_000), min_size=1, max_size=8), count=st.integers(1, 10))
def test_the_newest_samples_are_those_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], count: int
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    for number, length in enumerate(lengths):
        append_sample(folder, {"n": number, "filling": "x" * length})

    assert numbers(last_samples(folder, count)) == list(range(len(lengths)))[-count:]


def test_the_newest_sample_of_a_large_file_takes_one_small_read(folder: RunFolder) -> None:
    line = b'{"n": 1, "filling": "%s"}\n' % (b"x" * 1000)
    folder.samples.write_bytes(line * 20_000)
    before = _bytes_read()

    assert last_sample(folder) == json.loads(line)
    assert _bytes_read() - before < 64 << 10


def test_a_line_that_broke_off_costs_itself_alone(folder: RunFolder) -> None:
    write(folder, 2)
    with folder.samples.open("ab") as file:
        file.write(b'{"n": 2, "time": "20')

    assert last_sample(folder) == {"n": 1}
    append_sample(folder, {"n": 3})
    assert numbers(read_samples(folder)) == [0, 1, 3]
    assert last_sample(folder) == {"n": 3}


def test_what_is_no_object_is_passed_over(folder: RunFolder) -> None:
    folder.samples.write_bytes(b'{"n": 0}\n\xff\xfe\n[1]\n\n{"n": 1}\nnull\n' + b"[" * 100_000 + b"\n")

    assert numbers(read_samples(folder)) == [0, 1]
    assert last_sample(folder) == {"n": 1}


def test_the_file_stays_bounded_and_keeps_the_newest_whole_and_the_oldest_sparse(folder: RunFolder) -> None:
    limit = 10_000
    for number in range(2000):
        append_sample(folder, {"n": number}, max_bytes=limit)
        assert folder.samples.stat().st_size <= limit

    kept = numbers(read_samples(folder))
    assert kept == sorted(set(kept))
    assert kept[-200:] == list(range(1800, 2000))
    assert kept[0] < 600
    gaps = [later - earlier for earlier, later in pairwise(kept)]
    assert max(gaps[: len(gaps) // 4]) > max(gaps[-200:])
    assert folder.samples.stat().st_mode & 0o777 == 0o600
    assert os.listdir(folder.path) == ["samples.jsonl"]


def test_a_link_in_place_of_the_file_is_not_followed(folder: RunFolder) -> None:
    victim = folder.path / "victim"
    victim.write_text("mine")
    folder.samples.symlink_to(victim)

    with pytest.raises(OSError, match="symbolic"):
        append_sample(folder, {"n": 1})
    assert victim.read_text() == "mine"


def test_a_number_that_json_does_not_have_is_refused(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_sample(folder, {"n": float("nan")})
    assert not folder.samples.exists()


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])
