"""A load generator of a stand-in, and servers of the fake vLLM."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ExperimentConfig
from mixvllm.server.server import Server
from mixvllm.vllm.describe import CLI_MODULE
from mixvllm.vllm.installation import Installation
from mixvllm.workload.generator import LoadGenerator
from tests.server.conftest import Start, place, start

__all__ = ["place", "start"]

_DEADLINE_S = 60.0

STAND_IN = Path(__file__).parent / "stand_in"
INSTALLATION = Installation(sys.executable, "0.32.0", "vllm", CLI_MODULE, str(STAND_IN / "vllm"))

MakeGenerator = Callable[..., LoadGenerator]
Serve = Callable[..., Server]


def generator_surroundings(folder: Path, **script: Any) -> dict[str, str]:
    """Return the environment in which the package `vllm` is the stand-in."""
    return {
        **os.environ,
        "PYTHONPATH": str(STAND_IN),
        "PYTHONDONTWRITEBYTECODE": "1",
        "STAND_IN": json.dumps(script),
        "STAND_IN_IMPORTS": str(folder / "imports"),
    }


def never() -> bool:
    return False


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until `condition` is true."""
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def make_generator(tmp_path: Path) -> Iterator[MakeGenerator]:
    """Return a function that starts a load generator; keywords are of the stand-in's script."""
    generators: list[LoadGenerator] = []

    def make(*, is_warm: bool = True, **script: Any) -> LoadGenerator:
        environment = generator_surroundings(tmp_path, **script)
        generators.append(LoadGenerator(INSTALLATION, environment, tmp_path, is_warm=is_warm).__enter__())
        return generators[-1]

    yield make
    for generator in generators:
        generator.close()


@pytest.fixture
def serve(start: Start) -> Serve:
    """Return a function that gives a ready server of the fake; keywords are of its script."""

    def serve_one(*, can_reset: bool = True, server: dict[str, Any] | None = None, **script: Any) -> Server:
        environment = {"VLLM_SERVER_DEV_MODE": "1"} if can_reset else {}
        one = start(server={"env": environment, **(server or {})}, **script)
        one.server.wait_ready()
        return one.server

    return serve_one


def configure(kind: str = "bench", generation: dict[str, Any] | None = None, **workload: Any) -> ExperimentConfig:
    """Return a configuration with this workload."""
    return ExperimentConfig.model_validate(
        {"model": {"name": "some/model"}, "workload": {"kind": kind, **workload}, "generation": generation or {}}
    )
