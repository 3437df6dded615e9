"""What a server leaves besides processes: shared memory and temporary files. The guardian uses this module too."""

from __future__ import annotations

import os
from collections.abc import Iterable

_SHM = "/dev/shm"  # noqa: S108 - where the kernel keeps POSIX shared memory
_MADE_BY_LIBRARIES = ("psm_", "sem.mp-", "nccl-", "torch_", "cuda.shm.", "vllm_dist_")


def shared_memory_of(pids: Iterable[int]) -> set[str]:
    """Return the names in `/dev/shm` of the segments that the libraries of a server made and `pids` use now.

    Anything else there, e.g. weights that a user put in memory, is never named.
    """
    names: set[str] = set()
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
                names.update(_segment(line) for line in file if f"{_SHM}/" in line)
        except OSError:
            continue
    return {name for name in names if name.startswith(_MADE_BY_LIBRARIES)}


def remove_shared_memory(names: Iterable[str]) -> list[str]:
    """Remove the segments that are this user's and that nobody uses any more; return those that stay in use."""
    present = {name for name in names if _is_ours(f"{_SHM}/{name}")}
    used = present & shared_memory_of(int(name) for name in os.listdir("/proc") if name.isdigit()) if present else set()
    for name in present - used:
        _unlink(f"{_SHM}/{name}")
    return sorted(used)


def remove_folder(path: str) -> None:
    """Remove the folder at `path` with all that is in it; what cannot be removed stays."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            _unlink(os.path.join(folder, name))
        for name in folders:
            _remove_empty(os.path.join(folder, name))
    _remove_empty(path)


def _segment(line: str) -> str:
    return line.rpartition(f"{_SHM}/")[2].strip().removesuffix(" (deleted)")


def _is_ours(path: str) -> bool:
    try:
        return os.lstat(path).st_uid == os.getuid()
    except OSError:
        return False


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _remove_empty(path: str) -> None:
    try:
        if os.path.islink(path):
            os.unlink(path)
        else:
            os.rmdir(path)
    except OSError:
        return
