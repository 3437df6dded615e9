"""A server that a warm engine forked is the same as one that was started cold, in all that can be seen of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ModelConfig, ServeConfig, ServerConfig
from mixvllm.errors import ServerDied
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Journal
from mixvllm.server.limits import STOP_LIMITS, StopLimits
from mixvllm.server.processes import identify, is_alive, send_signal
from mixvllm.server.start import Deployment, environment_of, launch, run_facts, take_address
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.server.warm.interpreter import WarmEngine
from mixvllm.vllm.installation import find_installation
from tests.fakes.interpreter import make_interpreter
from tests.faults.nothing_left import Witness, assert_nothing_left
from tests.ports import find_port
from tests.server import test_readiness as readiness
from tests.server import test_stop as stop
from tests.server.conftest import QUICK, Start, Started
from tests.written_runs import wait_for

ENGINE_CORE = "VLLM::EngineCore"

SAME_RULES = (
    readiness.test_a_death_by_a_signal_names_the_signal,
    readiness.test_a_death_is_reported_long_before_the_deadline_with_the_end_of_the_log,
    readiness.test_a_server_with_a_key_is_ready_and_the_key_is_nowhere_to_be_read,
    readiness.test_the_phases_of_a_start_up_are_told_in_order,
    readiness.test_the_server_outlives_the_signal_of_a_cluster,
    readiness.test_the_server_runs_in_its_own_session_with_its_output_in_the_log,
    stop.test_a_dead_engine_is_a_failure_though_the_leader_exits_with_0,
    stop.test_a_server_that_does_not_stop_is_killed_at_the_deadline,
    stop.test_a_server_that_stops_as_told_is_not_killed,
    stop.test_nothing_is_left_after_a_stop_during_start_up,
    stop.test_nothing_is_left_after_a_stop_when_ready,
    stop.test_requests_in_flight_finish,
    stop.test_the_children_of_a_killed_leader_are_ended,
)
"""Tests of servers that were started cold; here they are tests of warm ones, since `start` is another fixture."""
globals().update({rule.__name__: rule for rule in SAME_RULES})


@pytest.fixture
def engines() -> Iterator[WarmEngines]:
    """The warm engines of one launcher."""
    with WarmEngines() as engines:
        yield engines


@pytest.fixture
def start(tmp_path: Path, engines: WarmEngines) -> Iterator[Start]:
    """Return a function as the other tests of servers have it, whose servers come from a warm engine."""
    started: list[Started] = []

    def start_one(server: dict[str, Any] | None = None, *, is_patient: bool = False, **script: Any) -> Started:
        number = len(started)
        script = {"phase_s": 0.005, "pids_file": str(tmp_path / f"pids-{number}"), **script}
        limits = STOP_LIMITS if is_patient else QUICK
        started.append(start_warm(tmp_path, number, engines, server or {}, script, limits))
        return started[-1]

    yield start_one
    for one in started:
        identities = [identity for pid in one.pids.values() if (identity := identify(pid))]
        one.server.stop(is_forced=lambda: True)
        for identity in identities:
            send_signal(identity, signal.SIGKILL)


def start_warm(
    tmp_path: Path,
    number: int,
    engines: WarmEngines,
    server: dict[str, Any],
    script: dict[str, Any],
    limits: StopLimits = QUICK,
) -> Started:
    python = make_interpreter(tmp_path / f"python-{number}", **script)
    section = {"python": str(python), "port": find_port(), "drain_timeout_s": 2, "ready_timeout_s": 60, **server}
    config = ServeConfig(model=ModelConfig(name="some/model"), server=ServerConfig(**section))
    deployment = Deployment(config, find_installation(str(python)))
    warm = engines.get(deployment.installation, environment_of(deployment))
    assert warm is not None
    folder, events = RunFolder.create(tmp_path / "outputs"), list[Event]()
    observers = [Journal(folder, run_facts(config)), events.append]
    running = launch(deployment, folder, take_address(config, folder), observers, stop_limits=limits, warm=warm)
    return Started(running, folder, events, Path(script["pids_file"]))


def engine_of(engines: WarmEngines) -> WarmEngine:
    (engine,) = engines._engines.values()
    return engine


def test_ps_shows_the_command_line_of_a_cold_start(start: Start) -> None:
    pytest.importorskip("setproctitle", reason="comes with vLLM, and is what changes a command line")
    one = start()
    one.server.wait_ready()

    shown = subprocess.run(["ps", "-wwo", "args=", "-p", str(one.server.pid)], capture_output=True, text=True).stdout

    assert shown.startswith(f"{sys.executable} -m vllm.entrypoints.cli.main serve some/model --")


def test_the_record_says_how_a_server_was_started(start: Start) -> None:
    assert start().status()["start"] == "warm"


def test_a_server_of_another_environment_is_started_cold(start: Start, engines: WarmEngines, tmp_path: Path) -> None:
    warm = engine_of(engines) if start() else None
    assert launch_with(warm, tmp_path, "OTHER") == "cold"


def test_a_server_is_started_cold_where_its_engine_is_gone(start: Start, engines: WarmEngines, tmp_path: Path) -> None:
    warm = engine_of(engines) if start() else None
    assert warm is not None
    os.kill(warm.pid, signal.SIGKILL)

    assert launch_with(warm, tmp_path) == "cold"


def launch_with(warm: WarmEngine | None, tmp_path: Path, *variables: str) -> str:
    """Start one more server for the engine that the first one came from; return how it was started."""
    python, env = str(tmp_path / "python-0" / "python"), dict.fromkeys(variables, "1")
    server = ServerConfig(python=python, port=find_port(), env=env)
    config = ServeConfig(model=ModelConfig(name="some/model"), server=server)
    folder = RunFolder.create(tmp_path / "others")
    observers = [Journal(folder, run_facts(config))]
    deployment = Deployment(config, find_installation(server.python))
    with launch(deployment, folder, take_address(config, folder), observers, stop_limits=QUICK, warm=warm):
        start: str = json.loads(folder.status.read_text())["start"]
        return start


def test_a_server_outlives_the_warm_engine_and_is_stopped_without_it(start: Start, engines: WarmEngines) -> None:
    one = start({"drain_timeout_s": 20}, is_patient=True)
    one.server.wait_ready()
    os.kill(engine_of(engines).pid, signal.SIGKILL)
    wait_for(lambda: not engine_of(engines).is_alive())
    body = {"model": "some/model", "prompt": "x"}
    status = one.server.client.complete("/v1/completions", body, 5).status_code
    one.server.check()

    one.server.stop()

    assert (status, one.living(), one.status()["state"], one.status()["was_killed"]) == (200, set(), "stopped", False)


def test_a_server_whose_guardian_is_killed_is_ended(start: Start) -> None:
    one = start(num_workers=1)
    one.server.wait_ready()
    os.kill(one.status()["guardian"]["pid"], signal.SIGKILL)

    with pytest.raises(ServerDied, match="guardian"):
        check_until_it_fails(one)
    one.server.stop()

    assert one.living() == set()


def check_until_it_fails(one: Started) -> None:
    def check() -> None:
        one.server.check()

    wait_for(check)


LAUNCHER = """\
import json, sys, time
from pathlib import Path
from tests.server.test_warm import start_warm
from mixvllm.server.warm.engines import WarmEngines
tmp_path, script = Path(sys.argv[1]), json.loads(sys.argv[2])
with WarmEngines() as engines:
    one = start_warm(tmp_path, 0, engines, {}, script)
    (engine,) = engines._engines.values()
    if "hang_in" not in script:
        one.server.wait_ready()
    print(engine.pid, one.folder.path, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("also", [(), ("guardian",), ("leader",), ("engine",)], ids=str)
@pytest.mark.parametrize("script", [{}, {"hang_in": "weights"}], ids=str)
def test_nothing_is_left_of_a_killed_launcher(tmp_path: Path, also: tuple[str, ...], script: dict[str, Any]) -> None:
    pids_file = tmp_path / "pids"
    script = {"phase_s": 0.005, "num_workers": 1, "pids_file": str(pids_file), **script}
    program = [sys.executable, "-c", LAUNCHER, str(tmp_path), json.dumps(script)]
    root = str(Path(__file__).parents[2])
    launcher = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root})
    try:
        assert launcher.stdout is not None
        engine, _, folder = launcher.stdout.readline().strip().partition(" ")
        warm = identify(int(engine))
        assert warm is not None
        witness = Witness(RunFolder(Path(folder)), pids_file)
        wait_for(lambda: pids_file.exists() and ENGINE_CORE in pids_file.read_text())
        witness.note()
        status = json.loads((Path(folder) / "status.json").read_text())
        pids = {"engine": warm.pid, **{role: status[role]["pid"] for role in ("guardian", "leader")}}
        kill([launcher.pid, *(pids[role] for role in also)])
    finally:
        launcher.kill()
        launcher.communicate()

    wait_for(lambda: not is_alive(warm))
    if "guardian" in also:  # the kernel tells the leader, and a later launcher writes down how the run ended
        wait_for(lambda: not any(map(is_alive, witness.processes)))
    else:
        assert_nothing_left(witness)


def kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
