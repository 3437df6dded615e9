"""Real servers from a warm engine: they answer, fail and end as those that were started cold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mixvllm import InferenceConfig, ModelConfig, ServeConfig, Server, ServerConfig
from mixvllm.errors import ServerDied
from mixvllm.machine.ports import FIRST_PORT_VARIABLE
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Journal
from mixvllm.server.processes import identify, is_alive
from mixvllm.server.start import Deployment, environment_of, launch, run_facts, take_address
from mixvllm.server.warm import engine
from mixvllm.server.warm.engines import MAY_DIFFER, WarmEngine, WarmEngines
from mixvllm.vllm.installation import Installation
from tests.engine.test_serving import STORY, ask
from tests.fakes.fake_server import find_port
from tests.faults.nothing_left import Witness, assert_nothing_left
from tests.written_runs import wait_for

DEADLINE_S = 240.0
ONE_PROCESS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",  # more wait for each other by spinning, for seconds on a busy machine
    "HF_HUB_OFFLINE": "1",
}
TWO_WORKERS = {**ONE_PROCESS, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}


def serving(model: Path, environment: dict[str, str] | None = None, **inference: object) -> ServeConfig:
    """Return the configuration of a small server on CPUs."""
    small = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": "64M", "max_num_batched_tokens": 512}
    return ServeConfig(
        model=ModelConfig(name=str(model), served_model_name=["demo"]),
        inference=InferenceConfig(**{**small, **inference}),
        server=ServerConfig(
            port=find_port(), env=environment or ONE_PROCESS, drain_timeout_s=5, ready_timeout_s=DEADLINE_S
        ),
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


@pytest.fixture(scope="module")
def warm(installation: Installation, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """A warm engine for servers with the environment `ONE_PROCESS`."""
    cache = tmp_path_factory.mktemp("cache")
    with WarmEngines(print) as engines:
        with surroundings(cache):
            environment = environment_of(Deployment(serving(demo_model), installation))
            one = engines.get(installation, environment)
            assert one is not None, engines.why_not(installation, environment)
        yield Warm(one, cache)


Start = Callable[[ServeConfig], Server]


@pytest.fixture
def start(warm: Warm, installation: Installation, tmp_path: Path) -> Iterator[Start]:
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


@pytest.mark.parametrize(
    ("environment", "inference"), [(ONE_PROCESS, {}), (TWO_WORKERS, {"tensor_parallel_size": 2})], ids=["one", "two"]
)
def test_a_server_recites_its_text_and_leaves_nothing(
    start: Start, demo_model: Path, environment: dict[str, str], inference: dict[str, object]
) -> None:
    server = start(serving(demo_model, environment, **inference))
    witness = Witness(server.folder)
    server.wait_ready()
    witness.note()
    titles = {" ".join(child.cmdline()).strip() for child in psutil.Process(server.pid).children(recursive=True)}

    answer = ask(server.url, "Tell me a story.", temperature=0.0)
    server.stop()

    assert STORY in answer.json()["choices"][0]["message"]["content"]
    status = assert_nothing_left(witness)
    assert (status["exit_code"], status["was_killed"], "VLLM::EngineCore" in titles) == (0, False, True)


def test_two_servers_of_one_engine_serve_at_the_same_time(start: Start, demo_model: Path) -> None:
    servers = [start(serving(demo_model)), start(serving(demo_model, max_num_seqs=2))]
    for server in servers:
        server.wait_ready()

    answers = [ask(server.url, "Tell me a story.", temperature=0.0) for server in servers]

    assert [STORY in answer.json()["choices"][0]["message"]["content"] for answer in answers] == [True, True]


def test_a_configuration_that_vllm_refuses_shows_the_cause(start: Start, demo_model: Path) -> None:
    server = start(serving(demo_model, max_model_len=4096))

    with pytest.raises(ServerDied, match=r"exit status 1[\s\S]*max_model_len \(4096\) is greater than the derived"):
        server.wait_ready()


def test_the_engine_of_a_killed_leader_is_ended(start: Start, demo_model: Path) -> None:
    server = start(serving(demo_model))
    witness = Witness(server.folder)
    server.wait_ready()
    witness.note()
    os.kill(server.pid, signal.SIGKILL)

    def check() -> None:
        server.check()

    with pytest.raises(ServerDied, match="killed by SIGKILL"):
        wait_for(check)
    server.stop()

    assert assert_nothing_left(witness)["state"] == "failed"


LAUNCHER = """\
import os, sys, time
from pathlib import Path
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Journal
from mixvllm.server.start import Deployment, environment_of, launch, run_facts, take_address
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.vllm.installation import find_installation
from tests.engine.test_warm import serving
config = serving(Path(sys.argv[1]))
deployment = Deployment(config, find_installation(None))
folder = RunFolder.create(Path(sys.argv[2]))
with WarmEngines() as engines:
    engine = engines.get(deployment.installation, environment_of(deployment))
    observers = [Journal(folder, run_facts(config))]
    launch(deployment, folder, take_address(config, folder), observers, warm=engine).wait_ready()
    print(engine.pid, folder.path, flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_of_a_killed_launcher(installation: Installation, demo_model: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-c", LAUNCHER, str(demo_model), str(tmp_path / "outputs")]
    root = str(Path(__file__).parents[2])
    launcher = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root})
    try:
        assert launcher.stdout is not None
        number, _, folder = launcher.stdout.readline().strip().partition(" ")
        warm = identify(int(number))
        assert warm is not None
        witness = Witness(RunFolder(Path(folder)))
        witness.note()
    finally:
        launcher.kill()
        launcher.communicate()

    assert len(witness.processes) > 2
    assert_nothing_left(witness, timeout_s=60)
    wait_for(lambda: not is_alive(warm))


TRACE = """\
import json, os, sys
read = set()
find = os._Environ.__getitem__
def note(self, name):
    read.add(os.fsdecode(name))
    return find(self, name)
os._Environ.__getitem__ = note
from mixvllm.server.warm import preload
sys.stdout.flush()
read.clear()
preload.import_all()
os._Environ.__getitem__ = find
print(json.dumps([sorted(read), sorted(name for name in preload.MODULES if name not in sys.modules)]))
"""


def test_no_variable_that_may_differ_is_read_while_vllm_is_imported(installation: Installation) -> None:
    root = str(Path(engine.__file__).parents[3])
    done = subprocess.run(
        [installation.python, "-c", TRACE],
        env={**os.environ, "PYTHONPATH": root, "VLLM_CONFIGURE_LOGGING": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    read, missing = map(set, json.loads(done.stdout.splitlines()[-1]))

    assert (read & MAY_DIFFER, missing) == ({"TMPDIR"}, set())
    assert "VLLM_LOGGING_LEVEL" in read or "HF_HOME" in read, "the trace sees nothing"
