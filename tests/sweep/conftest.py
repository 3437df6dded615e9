"""Sweeps of the fake vLLM, all ended when a test is over."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep.sweeps import StartSweep, Sweep


@pytest.fixture
def own_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with a short path, so that no other launcher of this user is in the way."""
    folder = Path(tempfile.mkdtemp(prefix="mx-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start_sweep(tmp_path: Path, own_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartSweep]:
    """Return a function that starts a sweep of the fake: overrides, and keys of the fake's script."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a machine without GPUs, without asking it
    started: list[Sweep] = []

    def start(*overrides: str, folder: Path | None = None, **script: object) -> Sweep:
        started.append(Sweep(folder or tmp_path / "sweeping", overrides, script, number=len(started)))
        return started[-1]

    yield start
    for one in started:
        one.end()
