"""Temporary folders of servers that have ended."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mixvllm.machine.folders import private_tmp
from mixvllm.server.fleet import RunState
from mixvllm.server.leftovers import remove_folder

_MIN_AGE_S = 24 * 3600.0
"""Of a folder that no known run claims, before it counts as left: its run may be registered elsewhere."""


def remove_temporary_folder(path: str | Path) -> bool:
    """Remove a server's temporary folder with all that is in it; return whether it is gone.

    Anything stays that is not a folder of this user's in the launchers' own folder for such.
    """
    folder = Path(path)
    if is_temporary_folder(folder):
        remove_folder(str(folder))
    return not os.path.lexists(folder)


def is_temporary_folder(path: Path) -> bool:
    """Whether a launcher of this user's made the folder at `path` for a server, by its place and owner."""
    is_named = path.parent.name == private_tmp().name and ".." not in path.parts
    is_in_place = path.parent.parent in {private_tmp().parent, Path(tempfile.gettempdir())}
    return is_named and is_in_place and _is_own_folder(path.parent) and _is_own_folder(path)


def stale_temporary_folders(states: Iterable[RunState]) -> list[Path]:
    """Return the temporary folders that no run needs any more.

    Those are the ones of runs that have ended and left no process, and old ones that no run claims and no process uses.
    """
    claims = [(Path(claimed), state) for state in states if (claimed := state.text("tmp_dir"))]
    needed = {path for path, state in claims if not state.has_ended or state.is_remote or state.num_orphans}
    stale = {path for path, _ in claims if is_temporary_folder(path)} - needed
    unclaimed = {path for path in _old_folders() if is_temporary_folder(path)} - needed - stale
    used = list(_used_paths()) if unclaimed else []
    return sorted(stale | {path for path in unclaimed if not any(_is_below(name, path) for name in used)})


def is_in_use(folder: Path) -> bool:
    """Whether a process has something open in `folder`, stands in it, or listens there, as far as this user sees."""
    return any(_is_below(name, folder) for name in _used_paths())


def _is_own_folder(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _old_folders() -> Iterator[Path]:
    for path in private_tmp().iterdir():
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > _MIN_AGE_S:
                yield path


def _is_below(name: str, folder: Path) -> bool:
    return name == str(folder) or name.startswith(f"{folder}/")


def _used_paths() -> Iterator[str]:
    """Give the paths of what processes have open, stand in, and listen on, as far as this user may see them."""
    for process in Path("/proc").glob("[0-9]*"):
        for link in (process / "cwd", *_entries(process / "fd")):
            with suppress(OSError):
                yield str(link.readlink())
    with suppress(OSError):
        for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines():
            yield "".join(line.partition("/")[1:])


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from folder.iterdir()
