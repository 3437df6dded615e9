"""Which jobs were submitted for a sweep or a run: written down beside it, so that every command finds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixvllm.errors import UntrustedFile
from mixvllm.machine.folders import submissions_folder
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.registry import find_runs, host_name, register
from mixvllm.runs.trust import read_record

_FILE = "jobs.json"


@dataclass(frozen=True)
class Array:
    """An array of jobs, with elements 0, 1, … .

    Args:
        job_id: as `sbatch --parsable` tells it.
        num_elements: at least 1.
    """

    job_id: str
    num_elements: int

    @property
    def element_ids(self) -> list[str]:
        """The ids of its elements, as `squeue --array` has them, shape (num_elements,)."""
        return [f"{self.job_id}_{index}" for index in range(self.num_elements)]


@dataclass(frozen=True)
class Submission:
    """What was submitted for one folder.

    Args:
        folder: of a sweep, or of a run.
        cluster: the name of the cluster.
        host: the machine that it was submitted on.
        submitted_at: when it was last added to.
        arrays: every array that was ever submitted for it, oldest first, shape (n,).
    """

    folder: Path
    cluster: str
    host: str
    submitted_at: datetime
    arrays: tuple[Array, ...]

    @property
    def name(self) -> str:
        """What the sweep or run is called."""
        return self.folder.name

    @property
    def element_ids(self) -> list[str]:
        """The ids of all elements, oldest first."""
        return [id_ for array in self.arrays for id_ in array.element_ids]


def write_submission(folder: Path, cluster: str, arrays: Iterable[Array]) -> Submission:
    """Write which jobs belong to `folder`, in one step, and have `find_submissions` know it.

    To be called after every `sbatch`, with all arrays of the folder: whoever dies between two has lost no job.
    """
    submission = Submission(folder, cluster, host_name(), datetime.now(UTC), tuple(arrays))
    record = {
        "schema": SCHEMA_VERSION,
        "cluster": cluster,
        "host": submission.host,
        "submitted_at": submission.submitted_at.isoformat(timespec="milliseconds"),
        "arrays": [asdict(array) for array in submission.arrays],
    }
    write_json(folder / _FILE, record)
    with suppress(OSError):  # the jobs are submitted all the same
        register(submissions_folder(), RunFolder(folder))
    return submission


def read_submission(folder: Path) -> Submission | None:
    """Return what was submitted for `folder`; None where nothing was.

    Raises:
        UntrustedFile: somebody else could have written it, and jobs are cancelled by it; or it is not whole.
    """
    try:
        record = read_record(folder / _FILE)
    except FileNotFoundError:
        return None
    try:
        return _parsed(folder, record)
    except (KeyError, TypeError, ValueError) as error:
        raise UntrustedFile(f"{folder / _FILE} is no record of jobs of ours: {error!r}") from error


def find_submissions() -> list[Submission]:
    """Return what this user has submitted, newest first, as far as its folders can be seen and trusted."""
    return sorted(_found(), key=lambda submission: submission.submitted_at, reverse=True)


def _found() -> Iterator[Submission]:
    for entry in find_runs(submissions_folder()):
        with suppress(UntrustedFile):
            submission = read_submission(entry.path)
            if submission is not None:
                yield submission


def _parsed(folder: Path, record: dict[str, Any]) -> Submission:
    return Submission(
        folder=folder,
        cluster=str(record["cluster"] or ""),
        host=str(record["host"]),
        submitted_at=datetime.fromisoformat(record["submitted_at"]),
        arrays=tuple(Array(_id(array["job_id"]), int(array["num_elements"])) for array in record["arrays"]),
    )


def _id(value: object) -> str:
    """Return a job id, which becomes an argument of `scancel`."""
    if not isinstance(value, str) or not value.isdecimal():
        raise ValueError(f"{value!r} is no job id")
    return value
