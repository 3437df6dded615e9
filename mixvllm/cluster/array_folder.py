"""The folder of one array of jobs. This module names every file in it.

<sweep or run>/slurm/<name>/
    elements.json        what each job does; complete before the array is submitted, and never changed
    script.sh            what sbatch gets
    array.json           the id that Slurm gave
    job-<i>.json         the job of element <i>: state, node, how often it was started
    events-<i>.jsonl     what it tells, one JSON object a line
    <A>_<i>_0_log.out    what it printed
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mixvllm.errors import MixvllmError
from mixvllm.runs.files import write_json
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.records import read_json


@dataclass(frozen=True)
class Element:
    """What one job does.

    Args:
        server_key: of the group that it measures; empty where it does a run by itself.
        repeats: content hash and number of each measurement, in order.
        is_warm: whether servers are forked from an interpreter that has imported vLLM.
    """

    server_key: str = ""
    repeats: tuple[tuple[str, int], ...] = ()
    is_warm: bool = False


@dataclass(frozen=True)
class Terms:
    """What holds for all jobs of an array.

    Args:
        max_requeues: how often each may be started again.
        full_time_s: seconds after which a job that is told that it ends soon has had its time; before, it is preempted.
        timeout_min: minutes that each has.
        signal_delay_s: seconds before its end at which it is told.
    """

    max_requeues: int
    full_time_s: float
    timeout_min: int
    signal_delay_s: int


@dataclass(frozen=True)
class ArrayFolder:
    """The folder of one array.

    Args:
        path: absolute, and the same on every node.
    """

    path: Path

    @classmethod
    def create(cls, work: Path, name: str) -> ArrayFolder:
        """Make the folder of a new array for the sweep, or the run, in `work`; mode 0700."""
        folder = cls.at(work, name)
        folder.path.parent.mkdir(mode=0o700, exist_ok=True)
        folder.path.mkdir(mode=0o700)
        return folder

    @classmethod
    def at(cls, work: Path, name: str) -> ArrayFolder:
        """Return the folder that the array of that name has for the sweep, or the run, in `work`."""
        return cls(work / "slurm" / name)

    @property
    def name(self) -> str:
        """What the array is called."""
        return self.path.name

    @property
    def work(self) -> Path:
        """The folder of the sweep, or of the run."""
        return self.path.parents[1]

    @property
    def elements(self) -> Path:
        """What each job does."""
        return self.path / "elements.json"

    @property
    def script(self) -> Path:
        """What sbatch gets."""
        return self.path / "script.sh"

    @property
    def array(self) -> Path:
        """The id that Slurm gave."""
        return self.path / "array.json"

    def job(self, index: int) -> Path:
        """The job of element `index` as it is now."""
        return self.path / f"job-{index}.json"

    def events(self, index: int) -> Path:
        """What the job of element `index` tells."""
        return self.path / f"events-{index}.jsonl"

    def log(self, job_id: str, index: int) -> Path:
        """What the job of element `index` printed; the name is submitit's."""
        return self.path / f"{job_id}_{index}_0_log.out"

    def write_elements(self, elements: Sequence[Element], terms: Terms) -> None:
        """Write what each job does, in the order of their indices, shape (n,)."""
        written = [asdict(element) for element in elements]
        write_json(self.elements, {"schema": SCHEMA_VERSION, "terms": asdict(terms), "elements": written})

    def read_elements(self) -> tuple[list[Element], Terms]:
        """Return what `write_elements` wrote.

        Raises:
            MixvllmError: it is not there, e.g. since this node does not see the folder.
        """
        record = read_json(self.elements)
        if record is None:
            raise MixvllmError(
                f"{self.elements} cannot be read\n  next: output_dir must be on a disk that all nodes see"
            )
        return [_element(each) for each in record["elements"]], Terms(**record["terms"])

    @property
    def job_id(self) -> str | None:
        """The id that Slurm gave; None where the array was not submitted."""
        found = (read_json(self.array) or {}).get("job_id")
        return found if isinstance(found, str) else None

    def tell(self, index: int, event: dict[str, Any]) -> None:
        """Append an event of element `index`."""
        descriptor = os.open(self.events(index), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(event).encode() + b"\n")

    def read_events(self, index: int, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return the whole events of element `index` from byte `offset` on, and where the next one begins.

        What is no event is passed over: on some disks, two starts of a job that write at one time spoil a line.
        """
        try:
            with self.events(index).open("rb") as file:
                file.seek(offset)
                *lines, _ = file.read().split(b"\n")
        except FileNotFoundError:
            return [], offset
        return [event for line in lines for event in _events(line)], offset + sum(len(line) + 1 for line in lines)


def arrays_of(work: Path) -> list[ArrayFolder]:
    """Return the arrays that were submitted for the sweep, or the run, in `work`, in the order of their names."""
    return [folder for folder in _all(work) if folder.job_id is not None]


def _all(work: Path) -> Iterator[ArrayFolder]:
    parent = work / "slurm"
    paths = sorted(parent.iterdir()) if parent.is_dir() else []
    return (ArrayFolder(path) for path in paths if path.is_dir())


def _events(line: bytes) -> Iterator[dict[str, Any]]:
    with suppress(ValueError):
        event = json.loads(line)
        if isinstance(event, dict) and "event" in event:
            yield event


def _element(record: dict[str, Any]) -> Element:
    repeats = tuple((content_hash, number) for content_hash, number in record["repeats"])
    return Element(record["server_key"], repeats, record["is_warm"])
