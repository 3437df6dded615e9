"""A server is called ready when it has answered, is ours, and has produced a token; else the reason is told."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import Interrupted, ServerDied, ServerFailed, ServerForeign, ServerNotReady
from mixvllm.server.processes import identify
from tests.server.conftest import Start
from tests.written_runs import wait_for


def test_a_server_that_answers_is_ready(start: Start) -> None:
    one = start()

    one.server.wait_ready()

    assert one.server.client.health() == 200


def test_the_phases_of_a_start_up_are_told_in_order(start: Start) -> None:
    one = start()

    one.server.wait_ready()

    told = [event.fields.get("phase", event.name) for event in one.events]
    assert told == ["spawned", "engine", "weights", "compile", "kv_cache", "http", "ready"]


def test_an_endpoint_is_published_when_ready_for_its_owner_alone(start: Start) -> None:
    one = start()
    was_there_before = one.folder.endpoint.exists()

    one.server.wait_ready()

    endpoint = json.loads(one.folder.endpoint.read_text())
    assert (was_there_before, endpoint["api_base"]) == (False, f"{one.server.url}/v1")
    assert one.folder.endpoint.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("phase", ["imports", "config", "engine_init", "weights", "kv_cache", "warmup", "http"])
def test_a_death_is_reported_long_before_the_deadline_with_the_end_of_the_log(start: Start, phase: str) -> None:
    one = start({"ready_timeout_s": 60}, die_in=phase, die_log=["ValueError: the cause of it all"])
    began = time.monotonic()

    with pytest.raises(ServerDied, match=r"ended by itself during start-up: exit status 1[\s\S]*the cause of it all"):
        one.server.wait_ready()

    assert time.monotonic() - began < 30


def test_a_death_by_a_signal_names_the_signal(start: Start) -> None:
    one = start(die_in="weights", die_by_signal=signal.SIGKILL.value, die_process="leader")

    with pytest.raises(ServerDied, match="killed by SIGKILL"):
        one.server.wait_ready()


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ({"wrong_identity": True}, ServerForeign, "another server answers"),
        ({"completions_status": 500}, ServerNotReady, "the first request failed: HTTP 500"),
        ({"empty_completion": True}, ServerNotReady, "the first request failed: HTTP 200"),
        ({"die_on_request": 1}, ServerFailed, "the first request failed: HTTP 500"),
    ],
)
def test_a_healthy_answer_alone_is_not_enough(
    start: Start, script: dict[str, Any], error: type[ServerFailed], words: str
) -> None:
    one = start(**script)

    with pytest.raises(error, match=words):
        one.server.wait_ready()

    assert not one.folder.endpoint.exists()


def test_a_server_that_answers_health_but_no_request_is_not_ready(start: Start) -> None:
    one = start(health_without_engine=True)

    with pytest.raises(ServerNotReady, match=r"not ready in 1 s|the first request failed"):
        one.server.wait_ready(timeout_s=1)


def test_the_deadline_names_the_phase_that_hangs(start: Start) -> None:
    one = start(hang_in="weights")
    wait_for(lambda: "Starting to load model" in one.server.log_path.read_text())

    with pytest.raises(ServerNotReady, match=r"not ready in 1 s, in phase weights; process \d+ is alive"):
        one.server.wait_ready(timeout_s=1)


def test_waiting_ends_at_once_when_a_stop_is_asked_for(start: Start) -> None:
    one = start(hang_in="weights")

    with pytest.raises(Interrupted):
        one.server.wait_ready(should_stop=lambda: True)


def test_a_flood_of_log_holds_up_nothing(start: Start) -> None:
    one = start(log_flood_mb=50)

    one.server.wait_ready()

    assert one.server.log_path.stat().st_size > 50e6


def test_the_record_identifies_the_server_beyond_its_number(start: Start) -> None:
    one = start()

    identity = identify(one.server.pid)
    assert identity is not None
    assert (one.status()["pid"], one.status()["start_ticks"]) == (identity.pid, identity.start_ticks)


def test_a_pooling_model_is_asked_for_an_embedding(start: Start) -> None:
    one = start(model={"runner": "pooling"}, completions_status=500)

    one.server.wait_ready()

    assert one.server.is_ready


def test_a_server_with_a_key_is_ready_and_the_key_is_nowhere_to_be_read(start: Start, tmp_path: Path) -> None:
    one = start({"api_key": "generate"})
    one.server.wait_ready()

    key = one.folder.api_key.read_text()
    command_lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in one.pids.values()]
    written = [file.read_bytes() for file in one.folder.path.iterdir() if file != one.folder.api_key]

    assert len(key) > 20
    assert [text for text in command_lines + written if key.encode() in text] == []
    assert one.folder.api_key.stat().st_mode & 0o777 == 0o600


def test_the_server_runs_in_its_own_session_with_its_output_in_the_log(start: Start) -> None:
    one = start()
    one.server.wait_ready()

    outputs = {str(Path(f"/proc/{one.server.pid}/fd/{number}").readlink()) for number in (1, 2)}

    assert (os.getsid(one.server.pid), outputs) == (one.server.pid, {str(one.server.log_path)})


def test_the_server_outlives_the_signal_of_a_cluster(start: Start) -> None:
    one = start()
    one.server.wait_ready()

    os.kill(one.server.pid, signal.SIGUSR2)

    assert one.server.client.complete("/v1/completions", {"model": "some/model", "prompt": "x"}, 5).status_code == 200
    assert one.server.poll() is None
