"""Every test runs in an empty folder, with an environment that holds nothing of the user's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_SETTINGS = ("MIXVLLM_", "HYDRA_", "VLLM_", "OMEGACONF_")


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the user's settings away, and move to a folder of the test's own."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MIXVLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
