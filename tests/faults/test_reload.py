"""A running server becomes another one, or stays what it is; it is never lost over a configuration."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mixvllm.cli.reload import reload_run
from mixvllm.runs.files import write_json
from tests.faults.launched import Launched, LaunchFake
from tests.faults.nothing_left import assert_nothing_left

WIDER = "inference.max_num_seqs=7"
TRANSIENT = ["torch.AcceleratorError: CUDA error: unspecified launch failure"]


@pytest.fixture
def serving(launch_fake: LaunchFake, tmp_path: Path) -> Iterator[Launched]:
    """A run that serves; its second server dies while it loads, the others do not."""
    starts = [{}, {"die_in": "weights", "die_log": TRANSIENT}, {}]
    one = launch_fake(starts_file=str(tmp_path / "starts"), by_start=starts)
    one.wait_ready()
    yield one
    one.kill(one.launch.process.pid, number=signal.SIGINT)
    assert one.launch.exit_code() == 130
    assert_nothing_left(one.witness)


def answer(one: Launched) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(one.folder.reload_answer.read_text())
    return record


def completes(one: Launched) -> bool:
    body = {"model": "some/model", "prompt": "x", "max_tokens": 1}
    return httpx.post(f"{one.status()['url']}/v1/completions", json=body, trust_env=False).status_code == 200


def test_what_cannot_be_served_is_refused_and_the_server_goes_on(serving: Launched) -> None:
    leader, refused = serving.role("leader"), {}
    for override in (
        "inference.gpu_memory_utilization=7",
        "inference.no_such_key=1",
        "server.port=1234",
        "model.name=/no/such/folder preflight=strict",
    ):
        assert reload_run(serving.folder.name, override.split()) == 2
        refused[override.split()[0]] = answer(serving)["cause"]

    assert [key for key, cause in refused.items() if key.partition("=")[0].rpartition(".")[2] not in cause] == []
    assert "no folder /no/such/folder" in refused["model.name=/no/such/folder"]
    assert (serving.role("leader"), serving.names.count("spawned"), completes(serving)) == (leader, 1, True)


def test_a_server_that_does_not_become_ready_gives_way_to_the_old_one(serving: Launched) -> None:
    url = serving.status()["url"]

    assert reload_run(serving.folder.name, [WIDER]) == 1

    assert (answer(serving)["state"], "CUDA" in answer(serving)["cause"]) == ("rolled_back", True)
    assert (serving.status()["url"], completes(serving)) == (url, True)
    assert "--max-num-seqs 7" not in serving.folder.command.read_text()
    attempts = [attempt["state"] for attempt in serving.status()["attempts"]]
    assert attempts == ["stopped", "failed"]


def test_a_reload_is_done_at_the_same_address_when_requests_in_flight_have_finished(launch_fake: LaunchFake) -> None:
    one = launch_fake("server.drain_timeout_s=10", token_delay_s=0.02)
    url = one.wait_ready()
    body = {"model": "some/model", "prompt": "x", "max_tokens": 30, "stream": True}
    with httpx.stream("POST", f"{url}/v1/completions", json=body, trust_env=False) as stream:
        lines = stream.iter_lines()
        next(lines)

        assert reload_run(one.folder.name, [WIDER]) == 0

        assert list(filter(None, lines))[-1] == "data: [DONE]"
    assert (one.status()["url"], completes(one), answer(one)["state"]) == (url, True, "done")
    assert "--max-num-seqs 7" in one.folder.command.read_text()
    assert json.loads(one.folder.point.read_text())["config"]["inference"]["max_num_seqs"] == 7
    one.kill(one.launch.process.pid, number=signal.SIGINT)
    assert one.launch.exit_code() == 130
    assert_nothing_left(one.witness)


def test_a_request_that_nobody_can_read_is_refused(serving: Launched) -> None:
    for request in ("{ no JSON", "[]", '{"id": 1, "overrides": "a=1"}'):
        serving.folder.reload_request.write_text(request)
        serving.launch.wait_for(lambda: not serving.folder.reload_request.exists())
    serving.launch.wait_for(lambda: serving.launch.stderr.count("reload: refused") == 3)

    assert (serving.names.count("spawned"), completes(serving)) == (1, True)


def test_a_second_interrupt_kills_a_server_that_drains_for_a_reload(launch_fake: LaunchFake) -> None:
    one = launch_fake("server.drain_timeout_s=600", hang_on_term=True)
    one.wait_ready()
    write_json(one.folder.reload_request, {"id": "x", "overrides": [WIDER]})
    one.wait_state("draining")
    one.kill(one.launch.process.pid, number=signal.SIGINT)
    one.kill(one.launch.process.pid, number=signal.SIGTERM)

    assert one.launch.exit_code() in (130, 143)
    assert (assert_nothing_left(one.witness)["state"], one.names.count("spawned")) == ("stopped", 1)


def test_a_launcher_that_is_killed_while_it_reloads_leaves_nothing(launch_fake: LaunchFake, tmp_path: Path) -> None:
    starts = [{}, {"hang_in": "weights"}]
    one = launch_fake(starts_file=str(tmp_path / "starts"), by_start=starts)
    one.wait_ready()
    write_json(one.folder.reload_request, {"id": "x", "overrides": [WIDER]})
    one.launch.wait_for(lambda: one.names.count("spawned") == 2)
    one.kill(one.launch.process.pid)

    assert "the launcher was killed" in assert_nothing_left(one.witness)["cause"]
