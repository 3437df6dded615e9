"""Runtimes on the PATH: an apptainer and images that stand in for real ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.containers import make_program
from tests.server.conftest import start

__all__ = ["start"]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for programs, first on the PATH; `apptainer` is there."""
    folder = tmp_path / "programs"
    make_program(folder, "apptainer")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def calls(programs: Path) -> list[dict[str, Any]]:
    """Return what the programs were called with, in order."""
    lines = (programs / "calls").read_text().splitlines()
    return [json.loads(line) for line in lines]


def serving_call(programs: Path) -> dict[str, Any]:
    """Return the call that started the last server."""
    return next(call for call in reversed(calls(programs)) if "serve" in call["command"])
