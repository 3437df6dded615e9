"""Real servers that are killed, stopped or disturbed, many in a short time: all come from one warm engine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from mixvllm import Server
from mixvllm.errors import PortInUse, ServerDied, ServerFailed
from tests.engine.test_faults import LONG, begin_streams, is_whole
from tests.engine.warm_servers import ONE_PROCESS, TWO_WORKERS, Start, serving
from tests.faults.nothing_left import Witness, assert_nothing_left
from tests.faults.strangers import listener
from tests.written_runs import wait_for

ENGINE = "VLLM::EngineCore"


def process_of(server: Server, title: str) -> psutil.Process:
    """Return the process of `server` whose title begins so, waiting for it."""

    def find() -> list[psutil.Process]:
        children = psutil.Process(server.pid).children(recursive=True)
        return [child for child in children if " ".join(child.cmdline()).startswith(title)]

    wait_for(find)
    return find()[0]


def until_failed(act: Callable[[], None]) -> ServerFailed:
    """Call `act` until it raises; return what it raised."""
    failures: list[ServerFailed] = []

    def fails() -> bool:
        try:
            act()
        except ServerFailed as error:
            failures.append(error)
        return bool(failures)

    wait_for(fails, 60)
    return failures[0]


def test_an_engine_that_is_killed_while_it_loads_fails_the_start(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model, TWO_WORKERS))
    witness = Witness(server.folder)
    process_of(server, ENGINE).kill()

    with pytest.raises(ServerDied, match=r"[Ee]ngine"):
        server.wait_ready()
    server.stop()

    assert assert_nothing_left(witness)["state"] == "failed"


def test_a_worker_that_is_killed_fails_the_server(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model, TWO_WORKERS, tensor_parallel_size=2))
    witness = Witness(server.folder)
    server.wait_ready()
    witness.note()
    process_of(server, "VLLM::Worker").kill()

    error = until_failed(server.check)
    server.stop()

    assert error.kind == "transient", error
    assert assert_nothing_left(witness)["state"] == "failed"


def test_a_stopped_front_end_is_called_hung_and_ended(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model, server={"hang_timeout_s": 3, "hang_probe_timeout_s": 3}))
    witness = Witness(server.folder)
    server.wait_ready()
    witness.note()
    os.kill(server.pid, signal.SIGSTOP)

    error = until_failed(server.check)
    server.stop()

    assert "hung" in [event["event"] for event in witness.events()], error
    assert_nothing_left(witness)


def test_a_drain_ends_at_its_deadline(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model, server={"drain_timeout_s": 1}, max_num_seqs=1))
    witness = Witness(server.folder)
    server.wait_ready()
    witness.note()
    with ThreadPoolExecutor() as pool:
        (answer,) = begin_streams(pool, server.url, 1)
        began = time.monotonic()
        server.stop()
        took_s = time.monotonic() - began

        assert answer.exception(60) is not None or not is_whole(answer.result())
    assert took_s < 15
    assert assert_nothing_left(witness)["state"] == "stopped"


def test_a_port_is_had_by_one_server_alone(start_warm: Start, demo_model: Path) -> None:
    config = serving(demo_model)
    start_warm(config)

    with pytest.raises(PortInUse, match="is in use by another launcher of yours"):
        start_warm(config)


def test_a_port_that_is_taken_while_the_server_loads_is_told(start_warm: Start, demo_model: Path) -> None:
    config = serving(demo_model)
    server = start_warm(config)
    witness = Witness(server.folder)

    with listener(int(config.server.port)):
        error = until_failed(server.wait_ready)
    server.stop()

    assert error.failure.get("id") == "port-in-use", error
    assert assert_nothing_left(witness)["state"] == "failed"


def test_one_request_too_long_is_refused_and_the_next_one_answered(start_warm: Start, demo_model: Path) -> None:
    server = start_warm(serving(demo_model, ONE_PROCESS))
    server.wait_ready()
    url = f"{server.url}/v1/chat/completions"

    refused = httpx.post(url, json=LONG | {"max_tokens": 10**6}, timeout=60, trust_env=False)
    answered = httpx.post(url, json=LONG | {"max_tokens": 2}, timeout=60, trust_env=False)

    assert (refused.status_code, answered.status_code) == (400, 200)
    server.check()
