"""After a stop nothing of the server is left, however it behaved."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from mixvllm.errors import ServerDied, ServerFailed
from mixvllm.runs.journal import Event
from tests.server.conftest import Start, Started


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_port_open(one: Started) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", one.server.address.lease.port)) == 0


def is_gone(one: Started) -> bool:
    return not one.living() and not is_port_open(one)


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"num_workers": 2},
        {"escape": "setpgrp"},
        {"escape": "setsid"},
        {"stubborn": True},
        {"hang_on_term": True},
    ],
    ids=str,
)
def test_nothing_is_left_after_a_stop_when_ready(start: Start, script: dict[str, Any]) -> None:
    one = start({"drain_timeout_s": 1}, **script)
    one.server.wait_ready()

    one.server.stop()

    assert (is_gone(one), one.status()["state"]) == (True, "stopped")


@pytest.mark.parametrize("phase", ["imports", "config", "engine_init", "weights", "warmup"])
def test_nothing_is_left_after_a_stop_during_start_up(start: Start, phase: str) -> None:
    one = start(hang_in=phase)
    wait_for(lambda: phase == "imports" or one.server.log_path.stat().st_size > 0)

    one.server.stop()

    assert (is_gone(one), one.status()["state"]) == (True, "stopped")


def test_a_server_that_stops_as_told_is_not_killed(start: Start) -> None:
    one = start({"drain_timeout_s": 20}, is_patient=True)
    one.server.wait_ready()

    one.server.stop()

    assert (one.server.poll(), one.status()["was_killed"]) == (0, False)


def test_a_server_that_does_not_stop_is_killed_at_the_deadline(start: Start) -> None:
    one = start({"drain_timeout_s": 0}, hang_on_term=True)
    one.server.wait_ready()
    began = time.monotonic()

    one.server.stop()

    assert (one.server.poll(), one.status()["was_killed"]) == (-signal.SIGKILL, True)
    assert time.monotonic() - began >= 1.0


def test_force_ends_the_wait(start: Start) -> None:
    one = start({"drain_timeout_s": 600}, hang_on_term=True)
    one.server.wait_ready()

    one.server.stop(is_forced=lambda: True)

    assert is_gone(one)


def test_requests_in_flight_finish(start: Start) -> None:
    one = start({"drain_timeout_s": 30}, token_delay_s=0.15)
    one.server.wait_ready()
    body = {"model": "some/model", "prompt": "x", "max_tokens": 20}
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(one.server.client.complete, "/v1/completions", body, 60) for _ in range(3)]
        wait_for(lambda: num_running(one) == 3)

        one.server.stop()

        finished = [answer.result().json()["usage"]["completion_tokens"] for answer in answers]
    assert finished == [20, 20, 20]


def test_stopping_twice_is_stopping_once(start: Start) -> None:
    one = start()
    one.server.wait_ready()

    one.server.stop()
    one.server.stop()

    assert [event.name for event in one.events].count("stopped") == 1


def test_the_endpoint_is_withdrawn_before_the_server_is_told(start: Start) -> None:
    seen: dict[str, bool] = {}

    def look(event: Event) -> None:
        if event.name in ("ready", "draining"):
            seen[event.name] = one.folder.endpoint.exists()

    one = start(observer=look)
    one.server.wait_ready()

    one.server.stop()

    assert seen == {"ready": True, "draining": False}


def test_leaving_the_context_stops_the_server(start: Start) -> None:
    one = start()

    with one.server:
        one.server.wait_ready()

    assert is_gone(one)


def test_the_children_of_a_killed_leader_are_ended(start: Start) -> None:
    one = start(num_workers=2)
    one.server.wait_ready()
    os.kill(one.server.pid, signal.SIGKILL)

    with pytest.raises(ServerDied, match="killed by SIGKILL"):
        _check_until_it_fails(one)
    wait_for(lambda: not one.living())
    one.server.stop()

    assert (is_gone(one), one.status()["state"]) == (True, "failed")


def test_a_dead_engine_is_a_failure_though_the_leader_exits_with_0(start: Start) -> None:
    one = start()
    one.server.wait_ready()
    os.kill(one.pids["VLLM::EngineCore"], signal.SIGKILL)

    with pytest.raises(ServerFailed, match="engine"):
        _check_until_it_fails(one)
    one.server.stop()

    assert (is_gone(one), one.status()["state"], "engine" in one.status()["cause"]) == (True, "failed", True)


def test_an_observer_that_fails_leaves_nothing_running(start: Start) -> None:
    def fail(event: Event) -> None:
        if event.name == "draining":
            raise OSError("No space left on device")

    one = start(observer=fail)
    one.server.wait_ready()

    with pytest.raises(OSError, match="No space left"):
        one.server.stop()

    assert is_gone(one)


def _check_until_it_fails(one: Started) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        one.server.check()
        time.sleep(0.01)


def num_running(one: Started) -> float:
    text = httpx.get(f"{one.server.url}/metrics", trust_env=False).text
    line = next(line for line in text.splitlines() if line.startswith("vllm:num_requests_running"))
    return float(line.rpartition(" ")[2])
