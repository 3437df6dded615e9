"""Slurm's programs as small scripts on PATH that answer what a test says, and count how often they are asked."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest


class FakeSlurm:
    """Has `squeue` list what `jobs` was told, and `scancel` note what it is asked for.

    Args:
        folder: for the programs and what they note.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self.program("scontrol", "echo 'ClusterName = mini'")
        self.program("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
        self.program("scancel", "true")
        self.jobs()

    def program(self, name: str, text: str) -> None:
        """Have `name` do what the shell's `text` says."""
        notes = shlex.quote(str(self._folder / f"{name}.asked"))
        program = self._folder / name
        program.write_text(f'#!/bin/sh\necho "$*" >> {notes}\n{text}\n')
        program.chmod(0o755)

    def jobs(self, *jobs: str) -> None:
        """Have Slurm know these: `ID STATE [REASON [NODES [RESTARTS]]]`, `-` for what is empty."""
        lines = []
        for job in jobs:
            id_, state, reason, nodes, restarts = (job.split() + ["-"] * 3)[:5]
            cells = (id_, state, restarts.replace("-", "0"), "mini", nodes.replace("-", ""), reason)
            lines.append("|".join(cells).replace("|-", "|None"))
        (self._folder / "listing").write_text("".join(f"{line}\n" for line in lines))
        self.program("squeue", f"cat {shlex.quote(str(self._folder / 'listing'))}")

    def asked(self, name: str) -> list[str]:
        """Return the arguments of every call of `name`."""
        file = self._folder / f"{name}.asked"
        return file.read_text().splitlines() if file.exists() else []
