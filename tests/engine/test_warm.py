"""Real servers from a warm engine: they answer, fail and end as those that were started cold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mixvllm.errors import ServerDied
from mixvllm.runs.folder import RunFolder
from mixvllm.server.processes import identify, is_alive
from mixvllm.server.warm import engine
from mixvllm.server.warm.shared import MAY_DIFFER
from mixvllm.vllm.installation import Installation
from tests.engine.test_serving import STORY, ask
from tests.engine.warm_servers import ONE_PROCESS, TWO_WORKERS, Start, serving
from tests.faults.nothing_left import Witness, assert_nothing_left
from tests.written_runs import wait_for


@pytest.mark.parametrize(
    ("environment", "inference"), [(ONE_PROCESS, {}), (TWO_WORKERS, {"tensor_parallel_size": 2})], ids=["one", "two"]
)
def test_a_server_recites_its_text_and_leaves_nothing(
    start_warm: Start, demo_model: Path, environment: dict[str, str], inference: dict[str, object]
) -> None:
    server = start_warm(serving(demo_model, environment, **inference))
    witness = Witness(server.folder)
    server.wait_ready()
    witness.note()
    titles = {" ".join(child.cmdline()).strip() for child in psutil.Process(server.pid).children(recursive=True)}

    answer = ask(server.url, "Tell me a story.", temperature=0.0)
    server.stop()

    assert STORY in answer.json()["choices"][0]["message"]["content"]
    status = assert_nothing_left(witness)
    assert (status["exit_code"], status["was_killed"], "VLLM::EngineCore" in titles) == (0, False, True)


def test_two_servers_of_one_engine_serve_at_the_same_time(start_warm: Start, demo_model: Path) -> None:
    servers = [start_warm(serving(demo_model)), start_warm(serving(demo_model, max_num_seqs=2))]
    for server in servers:
        server.wait_ready()

    answers = [ask(server.url, "Tell me a story.", temperature=0.0) for server in servers]

    assert [STORY in answer.json()["choices"][0]["message"]["content"] for answer in answers] == [True, True]


def test_a_configuration_that_vllm_refuses_shows_the_cause(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model, max_model_len=4096))

    with pytest.raises(ServerDied, match=r"exit status 1[\s\S]*max_model_len \(4096\) is greater than the derived"):
        server.wait_ready()


def test_the_engine_of_a_killed_leader_is_ended(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model))
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
from tests.engine.warm_servers import serving
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
