"""The folders of this user that all runs share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mixvllm.errors import UntrustedFile

_MAX_SOCKET_FOLDER_CHARS = 40  # vLLM's sockets are below it, and a socket's path ends at 107


def cache_folder() -> Path:
    """Return where things are kept that are made once: `MIXVLLM_CACHE`, or `~/.cache/mixvllm`; it may not exist yet."""
    return Path(os.environ.get("MIXVLLM_CACHE") or Path.home() / ".cache" / "mixvllm")


def runs_folder() -> Path:
    """Return where it is written which runs this user has, and where."""
    return cache_folder() / "runs"


def submissions_folder() -> Path:
    """Return where it is written for which sweeps and runs this user has submitted jobs, and where those are."""
    return cache_folder() / "submissions"


def private_tmp() -> Path:
    """Return the folder for temporary files of all launchers of this user, mode 0700, with a short path.

    Raises:
        UntrustedFile: it belongs to somebody else.
    """
    parent = tempfile.gettempdir()
    if len(parent) > _MAX_SOCKET_FOLDER_CHARS and os.access("/tmp", os.W_OK):  # noqa: S108 - 0700 below it
        parent = "/tmp"  # noqa: S108
    folder = Path(parent) / f"mixvllm-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UntrustedFile(f"{folder} belongs to somebody else\n  next: remove it, or set TMPDIR to a folder of yours")
    return folder
