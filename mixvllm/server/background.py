"""A launcher in the background: it goes on when its terminal, and whoever started it, is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mixvllm.server.processes import ProcessId, identify


def start_background(module: str, arguments: Sequence[str], log: Path) -> ProcessId:
    """Start `python -m module arguments` in a session of its own, what it says in the file `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    process.returncode = 0  # it is nobody's child any more once this process ends; no warning that it still runs
    return identify(process.pid) or ProcessId(process.pid, 0)
