"""What jobs are told, and tell, by files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm.cluster.array_folder import ArrayFolder, Element, Terms, arrays_of
from mixvllm.errors import MixvllmError
from mixvllm.runs.files import write_json

ELEMENTS = [Element("key", (("a", 1), ("a", 2), ("b", 1)), is_warm=True), Element()]
TERMS = Terms(max_requeues=3, full_time_s=60.0, timeout_min=3, signal_delay_s=30)


@pytest.fixture
def folder(tmp_path: Path) -> ArrayFolder:
    return ArrayFolder.create(tmp_path, "first")


def test_a_job_reads_what_it_is_to_do(folder: ArrayFolder) -> None:
    folder.write_elements(ELEMENTS, TERMS)

    assert ArrayFolder(folder.path).read_elements() == (ELEMENTS, TERMS)


def test_a_node_that_does_not_see_the_folder_says_so(folder: ArrayFolder) -> None:
    with pytest.raises(MixvllmError, match="a disk that all nodes see"):
        folder.read_elements()


def test_events_are_read_once_and_whole(folder: ArrayFolder) -> None:
    folder.tell(0, {"event": "one"})
    first, offset = folder.read_events(0)
    with folder.events(0).open("ab") as file:
        file.write(b'{"event": "tw')
    between, offset = folder.read_events(0, offset)
    with folder.events(0).open("ab") as file:
        file.write(b'o"}\n')
    second, _ = folder.read_events(0, offset)

    assert (first, between, second) == ([{"event": "one"}], [], [{"event": "two"}])


@pytest.mark.parametrize("spoilt", [b'{"event"{"event": "x"}', b"\0\0\0", b"[]", b"\xff", b""])
def test_a_spoilt_line_is_passed_over(folder: ArrayFolder, spoilt: bytes) -> None:
    folder.events(0).write_bytes(spoilt + b"\n")
    folder.tell(0, {"event": "one"})

    assert folder.read_events(0)[0] == [{"event": "one"}]


def test_arrays_are_those_that_slurm_gave_an_id(folder: ArrayFolder) -> None:
    second = ArrayFolder.create(folder.work, "second")
    write_json(second.array, {"job_id": "17"})

    assert arrays_of(folder.work) == [second]
    assert arrays_of(folder.work / "nowhere") == []
