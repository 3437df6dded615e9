"""A Slurm that says what the test wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fake_slurm import FakeSlurm


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Slurm's programs, that know no job yet."""
    return FakeSlurm(tmp_path / "slurm-programs", monkeypatch)
