"""A real server that is killed, stopped or left alone: seen, ended whole, and served again where that helps.

A start takes half a minute, so that one run takes most faults: each test finds it serving, and leaves it serving.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from mixvllm.server.processes import ProcessId, identify, is_alive
from mixvllm.vllm.phases import PHASES
from tests.engine.conftest import LaunchDemo
from tests.faults.launched import Launched
from tests.faults.nothing_left import assert_nothing_left
from tests.ports import find_port
from tests.written_runs import wait_for

START_S = 240.0
STORY = {"model": "demo", "messages": [{"role": "user", "content": "Tell me a story."}], "temperature": 0}
LONG = STORY | {"max_tokens": 900, "ignore_eos": True, "temperature": 1, "n": 8}
"""Takes a few seconds."""

LaunchReal = Callable[..., Launched]


@pytest.fixture(scope="module")
def launch_real(launch_demo: LaunchDemo) -> LaunchReal:
    """Return a function that launches the demo model for real."""

    def launch_one(*overrides: str) -> Launched:
        launch = launch_demo(f"server.port={find_port()}", *overrides)
        return Launched(launch, None, launch.folder / "outputs")

    return launch_one


@pytest.fixture(scope="module")
def restarted(launch_real: LaunchReal) -> Iterator[Launched]:
    """A run whose server is started again after every fault."""
    again = ["server.restart_backoff_s=0", "server.restart_max_attempts=100"]
    one = launch_real(*again, "server.hang_timeout_s=6", "server.hang_probe_timeout_s=6")
    yield one
    one.kill(one.launch.process.pid, number=signal.SIGTERM)
    assert one.launch.exit_code() == 143
    assert assert_nothing_left(one.witness)["state"] == "stopped"


def engine_of(one: Launched) -> ProcessId:
    """Return the process of the engine."""
    children = psutil.Process(one.role("leader")).children(recursive=True)
    pid = next(child.pid for child in children if "EngineCore" in " ".join(child.cmdline()))
    engine = identify(pid)
    assert engine is not None
    return engine


def wait_served_again(one: Launched, url: str, attempt: int) -> None:
    """Wait until another server is ready at the same address, and answers."""
    one.launch.wait_for(lambda: (one.status()["state"], one.status()["attempt"]) == ("ready", attempt + 1))
    assert (one.status()["url"], answer_of(url)) == (url, 200)


def answer_of(url: str, timeout_s: float = 60) -> int:
    body = STORY | {"max_tokens": 4}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=timeout_s, trust_env=False).status_code


def stream(url: str, began: Event | None = None) -> list[str]:
    """Return the lines of a long answer; `began` is set when there is one."""
    request: dict[str, Any] = {"json": LONG | {"stream": True}, "timeout": START_S, "trust_env": False}
    lines = []
    with httpx.stream("POST", f"{url}/v1/chat/completions", **request) as answer:
        for line in answer.iter_lines():
            lines += [line] if line else []
            if began is not None:
                began.set()
    return lines


def is_whole(lines: list[str]) -> bool:
    """Whether an answer has all that was asked for; vLLM ends broken ones with an error, and the same last line."""
    ends = sum('"finish_reason":"length"' in line for line in lines)
    return (ends, lines[-1]) == (LONG["n"], "data: [DONE]")


def begin_streams(pool: ThreadPoolExecutor, url: str, count: int) -> list[Future[list[str]]]:
    """Ask for long answers; return when all of them are under way."""
    events = [Event() for _ in range(count)]
    answers = [pool.submit(stream, url, event) for event in events]
    assert all(event.wait(START_S) for event in events)
    return answers


def num_produced(url: str) -> float:
    """Return how many answers are produced to their last token."""
    text = httpx.get(f"{url}/metrics", trust_env=False, timeout=START_S).text
    lines = [line for line in text.splitlines() if line.startswith("vllm:request_success_total{")]
    return sum(float(line.split()[-1]) for line in lines)


def test_a_stopped_engine_is_called_hung_and_a_busy_one_is_not(restarted: Launched) -> None:
    url, attempt = restarted.wait_ready(), restarted.status()["attempt"]
    with ThreadPoolExecutor() as pool:
        slow = [pool.submit(stream, url) for _ in range(4)]
        assert [is_whole(answer.result()) for answer in slow] == [True] * 4
        assert "hung" not in restarted.names

        (cut,) = begin_streams(pool, url, 1)
        engine = engine_of(restarted)
        restarted.kill(engine.pid, number=signal.SIGSTOP)
        restarted.launch.wait_for(lambda: "hung" in restarted.names)
        cut.exception(START_S)

    wait_served_again(restarted, url, attempt)
    assert "the engine has made no progress" in restarted.status()["attempts"][-1]["cause"]
    assert not is_alive(engine)


def test_a_killed_front_end_is_seen_and_its_engine_ended(restarted: Launched) -> None:
    url, attempt, engine = restarted.wait_ready(), restarted.status()["attempt"], engine_of(restarted)
    restarted.kill(restarted.role("leader"))

    wait_for(lambda: restarted.names[-1] != "ready", timeout_s=5)
    wait_for(lambda: not is_alive(engine), timeout_s=5)

    wait_served_again(restarted, url, attempt)
    assert restarted.status()["attempts"][-1]["exit_code"] == -signal.SIGKILL


def test_a_killed_engine_is_a_failure_though_the_front_end_exits_with_0(restarted: Launched) -> None:
    url, attempt = restarted.wait_ready(), restarted.status()["attempt"]
    restarted.kill(engine_of(restarted).pid)

    wait_served_again(restarted, url, attempt)

    ended = restarted.status()["attempts"][-1]
    assert (ended["state"], "engine" in ended["cause"]) == ("failed", True), ended


def test_a_killed_guardian_is_replaced_with_its_server(restarted: Launched) -> None:
    url, attempt, engine = restarted.wait_ready(), restarted.status()["attempt"], engine_of(restarted)
    restarted.kill(restarted.role("guardian"))

    wait_for(lambda: not is_alive(engine), timeout_s=20)

    wait_served_again(restarted, url, attempt)
    assert restarted.status()["attempts"][-1]["failure"]["id"] == "guardian-killed"


def test_long_answers_finish_before_a_stop(launch_real: LaunchReal) -> None:
    one = launch_real()
    url = one.wait_ready()
    with ThreadPoolExecutor() as pool:
        answers = begin_streams(pool, url, 3)
        one.kill(one.launch.process.pid, number=signal.SIGTERM)

        assert [is_whole(answer.result()) for answer in answers] == [True] * 3

    assert one.launch.exit_code() == 143
    assert assert_nothing_left(one.witness)["was_killed"] is False


def test_a_client_that_never_reads_its_answer_is_cut_off_at_the_deadline(launch_real: LaunchReal) -> None:
    one = launch_real("server.drain_timeout_s=1")
    url = one.wait_ready()
    before = num_produced(url)
    with unread_stream(url):
        wait_for(lambda: num_produced(url) == before + 1, START_S)  # and now all of it waits to be read
        one.kill(one.launch.process.pid, number=signal.SIGTERM)

        assert one.launch.exit_code() == 143

    assert assert_nothing_left(one.witness)["was_killed"] is True


def test_a_server_is_ended_with_its_launcher_while_it_loads(launch_real: LaunchReal) -> None:
    one = launch_real()
    one.wait_state("starting", "engine")
    one.launch.wait_for(lambda: "EngineCore" in one.folder.server_log.read_text(errors="replace"))
    one.kill(one.launch.process.pid)

    assert "the launcher was killed" in assert_nothing_left(one.witness, timeout_s=60)["cause"]


def test_a_serving_server_is_drained_and_ended_with_its_launcher(launch_real: LaunchReal) -> None:
    one = launch_real()
    url = one.wait_ready()
    with ThreadPoolExecutor() as pool:
        (answer,) = begin_streams(pool, url, 1)
        one.kill(one.launch.process.pid)

        assert is_whole(answer.result())

    status = assert_nothing_left(one.witness, timeout_s=60)
    assert ("the launcher was killed" in status["cause"], status["exit_code"]) == (True, 0)


def test_a_server_that_dies_of_its_first_request_is_never_ready_and_leaves_nothing(launch_real: LaunchReal) -> None:
    two_stages = ["inference.pipeline_parallel_size=2", "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null"]
    one = launch_real(*two_stages, "server.restart=never")
    one.launch.wait_for(lambda: one.status().get("phase") in PHASES[PHASES.index("weights") :])
    one.witness.note()

    assert (one.launch.exit_code(), "ready" in one.names) == (1, False)
    assert [event["phase"] for event in one.witness.events() if event["event"] == "phase"][-1] == "http"
    assert assert_nothing_left(one.witness)["state"] == "failed"
    assert one.witness.segments != set()  # so that there was something to remove


@contextmanager
def unread_stream(url: str) -> Iterator[None]:
    """Ask for more than any buffer takes, and read nothing of it: each piece of the answer repeats the request's id."""
    body = json.dumps({"model": "demo", "prompt": "x", "max_tokens": 450, "ignore_eos": True, "stream": True})
    head = [
        "POST /v1/completions HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {'x' * 16000}",
    ]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", urlsplit(url).port or 0))
        client.sendall("\r\n".join([*head, "", body]).encode())
        yield
