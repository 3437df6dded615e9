"""A server that lives and produces nothing is called hung; one that is slow is not."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mixvllm.errors import ServerHung
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import Serve

QUICKLY: dict[str, Any] = {"hang_timeout_s": 2.0, "hang_probe_timeout_s": 1.0}
PATIENTLY: dict[str, Any] = {"hang_timeout_s": 2.0, "hang_probe_timeout_s": 10.0}
ONCE: dict[str, Any] = {"restart": "never"}


def test_a_stopped_engine_with_requests_is_called_hung_and_ended(serve: Serve) -> None:
    one = serve(QUICKLY | ONCE, num_workers=2, token_delay_s=0.02)
    one.service.wait_ready()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(one.ask, max_tokens=500)
        one.check_for(0.3)
        one.kill(one.pid("VLLM::EngineCore"), signal.SIGSTOP)

        cause = one.fail(ServerHung).cause
        one.service.stop()
        assert answer.exception(timeout=10) is not None

    assert "the engine has made no progress" in cause
    status = assert_nothing_left(one.witness)
    assert (status["state"], status["cause"], one.names[-2:]) == ("failed", cause, ["hung", "failed"])


def test_a_stopped_engine_that_nobody_asks_is_called_hung_too(serve: Serve) -> None:
    one = serve(QUICKLY | ONCE)
    one.service.wait_ready()
    one.kill(one.pid("VLLM::EngineCore"), signal.SIGSTOP)

    assert "a request for one token failed" in one.fail(ServerHung).cause
    one.service.stop()

    assert assert_nothing_left(one.witness)["was_killed"] is True


def test_a_hung_server_is_killed_at_once_and_another_one_serves(serve: Serve) -> None:
    one = serve({**QUICKLY, "drain_timeout_s": 600}, is_patient=True)
    one.service.wait_ready()
    one.kill(one.pid("VLLM::EngineCore"), signal.SIGSTOP)

    one.check_until(lambda: one.names.count("ready") == 2)

    assert (one.ask(), "draining" in one.names) == (200, False)
    assert [attempt["was_killed"] for attempt in one.end()["attempts"]] == [True, False]


def test_an_engine_that_goes_on_in_time_is_not_called_hung(serve: Serve) -> None:
    one = serve(PATIENTLY)
    one.service.wait_ready()
    engine = one.pid("VLLM::EngineCore")
    one.kill(engine, signal.SIGSTOP)
    one.check_for(2.5)  # the token that is asked for is awaited by now
    one.kill(engine, signal.SIGCONT)

    one.check_for(2.5)

    assert (one.names.count("spawned"), one.ask()) == (1, 200)
    assert one.end()["state"] == "stopped"


def test_an_engine_that_computes_a_long_prompt_is_not_called_hung(serve: Serve) -> None:
    one = serve(QUICKLY, prefill_token_s=0.02)
    one.service.wait_ready()
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(one.ask, "x " * 180, timeout_s=60)

        one.check_until(answer.done)

    assert (answer.result(), time.monotonic() - began > 3.2, one.names.count("spawned")) == (200, True, 1)
    assert one.end()["state"] == "stopped"


def test_a_stopped_front_end_is_called_hung_and_ended(serve: Serve) -> None:
    one = serve(QUICKLY | ONCE)
    one.service.wait_ready()
    one.kill(one.leader, signal.SIGSTOP)

    cause = one.fail(ServerHung).cause
    one.service.stop()

    assert ("the front end has not answered /health" in cause, assert_nothing_left(one.witness)["cause"]) == (
        True,
        cause,
    )


def test_a_server_is_not_called_hung_for_a_time_in_which_its_launcher_did_not_look(serve: Serve) -> None:
    one = serve(QUICKLY)
    one.service.wait_ready()
    one.check_for(0.3)
    time.sleep(3.0)  # as one that was suspended and goes on

    one.check_for(0.3)

    assert "hung" not in one.names


@pytest.mark.parametrize("title", ["APIServer", "VLLM::EngineCore"])
def test_a_stopped_process_does_not_hold_up_a_stop(serve: Serve, title: str) -> None:
    one = serve(num_workers=2)
    one.service.wait_ready()
    one.kill(one.pid(title), signal.SIGSTOP)

    assert one.end()["state"] == "stopped"
