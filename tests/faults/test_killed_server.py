"""A process of the server that dies, by whatever death, ends all of it; where that helps, another server follows."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import ServerDied
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import Serve

TITLES = ("APIServer", "VLLM::EngineCore", "VLLM::Worker_TP0")
ONCE: dict[str, Any] = {"restart": "never"}

SEGMENT = f"psm_killed_{os.getpid()}"


@pytest.mark.parametrize("title", TITLES)
def test_a_killed_process_ends_a_serving_server_with_all_that_it_used(serve: Serve, title: str) -> None:
    one = serve(ONCE, num_workers=2, shared_memory=SEGMENT)
    one.service.wait_ready()
    one.kill(one.pid(title))

    cause = one.fail(ServerDied).cause
    one.service.stop()

    assert_nothing_left(one.witness)
    assert (one.status()["state"], one.status()["cause"]) == ("failed", cause)


@pytest.mark.parametrize("title", TITLES)
def test_a_server_with_a_killed_process_is_served_again_at_the_same_address(serve: Serve, title: str) -> None:
    one = serve(num_workers=2)
    one.service.wait_ready()
    url, first = one.service.server.url, one.leader
    one.kill(one.pid(title))

    one.check_until(lambda: one.names.count("ready") == 2)

    assert (one.service.server.url, one.ask(), one.leader != first) == (url, 200, True)
    assert one.end()["attempts"][0]["state"] == "failed"


@pytest.mark.parametrize("title", TITLES)
def test_a_killed_process_ends_a_server_that_loads(serve: Serve, title: str) -> None:
    one = serve(ONCE, num_workers=2, slow_phases_s={"weights": 0.3})
    one.kill(one.pid(title))

    with pytest.raises(ServerDied, match="ended by itself during start-up"):
        one.service.wait_ready()
    one.service.stop()

    assert assert_nothing_left(one.witness)["state"] == "failed"


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        *((status, "serving") for status in (1, 2, 3, -2, -6, -7, -9, -11, -15)),
        *((status, "weights") for status in (1, -6, -7, -9, -11)),
        *((status, "imports") for status in (1, 2, -2, -9, -15)),
        (3, "http"),
    ],
)
def test_every_way_to_die_is_recorded_as_a_failure(serve: Serve, status: int, phase: str, tmp_path: Path) -> None:
    death = {"exit_code": status} if status > 0 else {"die_by_signal": -status}
    where = {"die_at_file": str(tmp_path / "die")} if phase == "serving" else {"die_in": phase}
    one = serve(ONCE, **death, **where)

    with pytest.raises(ServerDied) as caught:
        one.service.wait_ready()
        (tmp_path / "die").touch()
        one.check_until(lambda: False)
    one.service.stop()

    assert_nothing_left(one.witness)
    assert (one.status()["state"], one.status()["exit_code"]) == ("failed", status)
    words = f"exit status {status}" if status > 0 else f"killed by {signal.Signals(-status).name}"
    assert words in str(caught.value)


def test_an_end_without_being_asked_is_a_failure_though_the_status_is_0(serve: Serve, tmp_path: Path) -> None:
    one = serve(ONCE, die_at_file=str(tmp_path / "die"), exit_code=0)
    one.service.wait_ready()
    (tmp_path / "die").touch()

    assert "exit status 0, which vLLM also gives when its engine dies" in str(one.fail(ServerDied))
    one.service.stop()

    assert assert_nothing_left(one.witness)["state"] == "failed"


def test_an_end_with_status_0_that_was_asked_for_is_no_failure(serve: Serve) -> None:
    one = serve({"drain_timeout_s": 20}, is_patient=True)
    one.service.wait_ready()

    status = one.end()

    assert (status["state"], status["exit_code"], status["was_killed"]) == ("stopped", 0, False)


def test_shared_memory_goes_though_the_process_that_should_remove_it_was_killed(serve: Serve) -> None:
    one = serve(ONCE, shared_memory=SEGMENT)
    one.service.wait_ready()
    one.kill(one.tracker)
    one.kill(one.leader)

    one.fail(ServerDied)
    one.service.stop()

    assert SEGMENT in one.witness.segments
    assert_nothing_left(one.witness)
