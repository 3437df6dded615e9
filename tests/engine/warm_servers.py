"""Real servers from a warm engine, in the process of the test: one starts in a second or three."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mixvllm import InferenceConfig, ModelConfig, ServeConfig, Server, ServerConfig
from mixvllm.machine.ports import FIRST_PORT_VARIABLE
from mixvllm.server.warm.interpreter import WarmEngine
from tests.ports import find_port

DEADLINE_S = 240.0
ONE_PROCESS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",  # more wait for each other by spinning, for seconds on a busy machine
    "HF_HUB_OFFLINE": "1",
}
TWO_WORKERS = {**ONE_PROCESS, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}


def serving(
    model: Path,
    environment: dict[str, str] | None = None,
    server: dict[str, object] | None = None,
    **inference: object,
) -> ServeConfig:
    """Return the configuration of a small server on CPUs."""
    small = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": "64M", "max_num_batched_tokens": 512}
    usual = {
        "port": find_port(),
        "env": environment or ONE_PROCESS,
        "drain_timeout_s": 5,
        "ready_timeout_s": DEADLINE_S,
    }
    return ServeConfig(
        model=ModelConfig(name=str(model), served_model_name=["demo"]),
        inference=InferenceConfig(**{**small, **inference}),
        server=ServerConfig(**{**usual, **(server or {})}),
    )


@dataclass(frozen=True)
class Warm:
    """A warm engine, and the folder of ours that the environment of its servers names."""

    engine: WarmEngine
    cache: Path


@contextmanager
def surroundings(cache: Path) -> Iterator[None]:
    """Take away what every test has for its own, so that all servers have the same environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIXVLLM_CACHE", str(cache))
        patch.delenv(FIRST_PORT_VARIABLE, raising=False)
        patch.delenv("PYTEST_CURRENT_TEST")
        yield


Start = Callable[[ServeConfig], Server]
"""Starts a server of this configuration from the warm engine; see the fixture `start_warm`."""
