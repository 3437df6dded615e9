"""Folders for the temporary files of jobs: each job has one of its own, which it holds a lock of while it lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mixvllm.server.remains import is_in_use

_MAX_CHARS = 25  # of the folder that ours is made in; sockets of vLLM have little room
_USUAL = Path("/tmp")  # noqa: S108 - a folder of our own is made below it


@contextmanager
def job_folder(number: int, environment: Mapping[str, str]) -> Iterator[Path]:
    """Give a job a folder, which is gone at the end; those that jobs of this user have left on this node go, too.

    Args:
        number: of the job.
        environment: of this process; its TMPDIR is where the folder is made, if the path is short enough.
    """
    for left in left_job_folders(environment):
        remove_job_folder(left)
    folder, descriptor = _make(number, _parent(environment))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def left_job_folders(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders of jobs that were killed: nobody holds a lock of them, and no process uses what is in them."""
    found = sorted(_parent(environment).glob(f"mx{os.getuid()}-*"))
    return [path for path in found if _is_unheld(path) and not is_in_use(path)]


def remove_job_folder(path: Path) -> bool:
    """Remove the folder of a job that was killed; return whether it is gone."""
    with suppress(OSError), _held_alone(path):
        shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def _make(number: int, parent: Path) -> tuple[Path, int]:
    """Return a new folder, and the descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"mx{os.getuid()}-{number}-", dir=parent))
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder.exists():  # else another job took it for left before it was held
                return folder, descriptor
            os.close(descriptor)


def _parent(environment: Mapping[str, str]) -> Path:
    given = Path(environment.get("TMPDIR") or _USUAL)
    return given if len(str(given)) <= _MAX_CHARS and os.access(given, os.W_OK) else _USUAL


def _is_unheld(path: Path) -> bool:
    with suppress(OSError), _held_alone(path):
        return True
    return False


@contextmanager
def _held_alone(path: Path) -> Iterator[None]:
    """Hold the folder at `path`.

    Raises:
        OSError: somebody else does, or it is none of this user's folders.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{path} is somebody else's")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
