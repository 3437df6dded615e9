"""Tracking in a process of its own, so that a tracker that fails, hangs or dies takes nothing with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mixvllm.runs.secrets import known_secrets, mask

TIMEOUT_S = 1800.0
_GRACE_S = 10.0


def track_aside(folder: Path, names: Sequence[str], timeout_s: float = TIMEOUT_S) -> list[str]:
    """Tell each of the trackers `names` of the sweep in `folder`; return what to say of it, a line each. Never raises.

    Args:
        folder: of the sweep.
        names: of trackers.
        timeout_s: that each of them gets.
    """
    return [_told(folder, name, timeout_s) for name in dict.fromkeys(names)]


def _told(folder: Path, name: str, timeout_s: float) -> str:
    command = [sys.executable, "-m", "mixvllm.cli.app", "track", str(folder), "--to", name]
    again = f"mixvllm track {folder} --to {name}"
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return f"{name} was not told: {error}; try again: {again}"
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException as error:  # a second Ctrl-C, too
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            return f"{name} was not told: it took more than {timeout_s:g} s; try again: {again}"
        raise
    if process.returncode == 0:
        return out.strip() or f"{name}: told"
    return f"{name} was not told: {_last_error(err)}; try again: {again}"


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if line.startswith("error: ")), lines[-1] if lines else "it gave no reason")
    return mask(found.removeprefix("error: "), known_secrets(os.environ))


def _end(process: subprocess.Popen[str]) -> None:
    """End `process` with everything of its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
