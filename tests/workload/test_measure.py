"""One repeat on a server of the fake, by a load generator that is a stand-in."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import Interrupted
from mixvllm.server.processes import identify, send_signal
from mixvllm.workload.bench.caches import Reset, reset_caches
from mixvllm.workload.bench.measure import run_bench
from mixvllm.workload.task import RepeatTask
from tests.workload.conftest import MakeGenerator, Serve, configure, never, wait_until

LOAD: dict[str, Any] = {"num_prompts": 5, "input_len": 6, "output_len": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "measured"
    path.mkdir()
    return path


def test_a_good_repeat_has_numbers_of_client_and_server(
    serve: Serve, make_generator: MakeGenerator, folder: Path
) -> None:
    measured = run_bench(RepeatTask(configure(**LOAD, seed=3), serve(), make_generator(), folder, 2, never))

    assert (measured.verdict, measured.reason, measured.seed) == ("ok", None, 5)
    counts = ("num_completed", "num_failed", "total_input_tokens", "total_output_tokens")
    assert [measured.metrics[name] for name in counts] == [5, 0, 30, 35]
    assert measured.server_metrics["prefix_cache_hit_fraction"] == 0.0
    assert (measured.result, (folder / "bench-2.log").exists()) == (folder / "bench-2.json", True)
    json.dumps(measured.record(), allow_nan=False)


def test_the_servers_key_reaches_the_load_generator_by_its_environment(
    serve: Serve, make_generator: MakeGenerator, folder: Path
) -> None:
    server = serve(server={"api_key": "generate"})
    assert server.address.key is not None

    measured = run_bench(RepeatTask(configure(**LOAD), server, make_generator(), folder, 0, never))

    assert (measured.verdict, measured.metrics["num_completed"]) == ("ok", 5)
    assert server.address.key.value not in (folder / "bench-0.log").read_text()


def test_lost_requests_make_a_repeat_invalid(serve: Serve, make_generator: MakeGenerator, folder: Path) -> None:
    measured = run_bench(RepeatTask(configure(**LOAD), serve(), make_generator(lose=2), folder, 0, never))

    reason = "3 of 5 requests were answered, 2 failed; the first error: connection refused"
    assert (measured.verdict, reason in str(measured.reason)) == ("invalid", True)


def test_answers_of_another_length_make_a_repeat_invalid(
    serve: Serve, make_generator: MakeGenerator, folder: Path
) -> None:
    config = configure(num_prompts=5, input_len=6, random_output_len=7)

    measured = run_bench(RepeatTask(config, serve(), make_generator(), folder, 0, never))

    assert (measured.verdict, "do not have the 7 tokens" in str(measured.reason)) == ("invalid", True)


def test_a_load_generator_that_fails_is_told_with_the_end_of_its_log(
    serve: Serve, make_generator: MakeGenerator, folder: Path
) -> None:
    measured = run_bench(RepeatTask(configure(**LOAD), serve(), make_generator(status=4), folder, 0, never))

    assert (measured.verdict, measured.metrics, measured.error) == ("failed", {}, None)
    assert "ended with status 4" in str(measured.reason)
    assert "with seed 0" in str(measured.reason)


def test_a_repeat_that_takes_too_long_has_failed(
    serve: Serve, make_generator: MakeGenerator, folder: Path, tmp_path: Path
) -> None:
    generator = make_generator(hang=str(tmp_path / "pids"))

    measured = run_bench(RepeatTask(configure(**LOAD, timeout_s=1.0), serve(), generator, folder, 0, never))

    assert (measured.verdict, "not done in workload.timeout_s=1" in str(measured.reason)) == ("failed", True)


def test_a_server_that_dies_meanwhile_is_the_cause(
    serve: Serve, make_generator: MakeGenerator, folder: Path, tmp_path: Path
) -> None:
    server, pids = serve(), tmp_path / "hanging"
    leader = identify(server.pid)
    assert leader is not None

    def kill_the_server_meanwhile() -> bool:
        if pids.exists():
            send_signal(leader, signal.SIGKILL)
        return False

    generator = make_generator(hang=str(pids))
    measured = run_bench(RepeatTask(configure(**LOAD), server, generator, folder, 0, kill_the_server_meanwhile))

    assert (measured.verdict, type(measured.error).__name__) == ("failed", "ServerDied")
    assert not [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}/cmdline").exists()]


def test_a_server_that_is_dead_already_is_the_cause(serve: Serve, make_generator: MakeGenerator, folder: Path) -> None:
    server = serve()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.poll() is not None)

    measured = run_bench(RepeatTask(configure(**LOAD), server, make_generator(), folder, 0, never))

    assert (measured.verdict, type(measured.error).__name__) == ("failed", "ServerDied")


def test_a_stop_is_an_interruption(serve: Serve, make_generator: MakeGenerator, folder: Path, tmp_path: Path) -> None:
    pids = tmp_path / "hanging"

    with pytest.raises(Interrupted):
        run_bench(RepeatTask(configure(**LOAD), serve(), make_generator(hang=str(pids)), folder, 0, pids.exists))


@pytest.mark.parametrize(
    ("can_reset", "success", "outcome"),
    [(True, True, Reset.CONFIRMED), (True, False, Reset.REFUSED), (False, True, Reset.UNAVAILABLE)],
)
def test_a_cache_is_empty_where_the_server_says_so(
    serve: Serve, can_reset: bool, success: bool, outcome: Reset
) -> None:
    server = serve(can_reset=can_reset, reset_success=success)

    assert reset_caches(server.client, limit_s=0.2) is outcome


def test_a_repeat_on_caches_that_cannot_be_emptied_says_so(
    serve: Serve, make_generator: MakeGenerator, folder: Path
) -> None:
    measured = run_bench(RepeatTask(configure(**LOAD), serve(can_reset=False), make_generator(), folder, 0, never))

    assert (measured.verdict, len(measured.remarks)) == ("ok", 1)
    assert "caches could not be emptied" in measured.remarks[0]
