"""The state of the sources that a run was started from."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

_GIT_TIMEOUT_S = 5.0
_PACKAGE = Path(__file__).parents[1]
_MAX_DIFF_CHARS = 1_000_000
_ONLY_SHOWS = ("cli", "report")


@cache
def code_digest(root: Path = _PACKAGE) -> str:
    """Return 16 hexadecimal digits that change with the code of the package at `root`, less what only shows things."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root)
        if name.parts[0] not in _ONLY_SHOWS:
            digest.update(f"{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def git_state(folder: Path) -> dict[str, str] | None:
    """Return `commit` and `diff` (tracked files against it) of the checkout at `folder`; None outside one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "diff": (_git(folder, "diff", "HEAD") or "")[:_MAX_DIFF_CHARS]}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
