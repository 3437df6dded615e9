"""A real server: it answers as shown, and nothing of it is left when it was told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.engine.conftest import LaunchDemo
from tests.launches import Launch

STORY = "High on the mountain, above the last pine"
"""How the demo model's own story begins, which no model says by chance."""


def is_open(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def ask(url: str, prompt: str, key: str = "", **fields: float) -> httpx.Response:
    """Ask for an answer of at most 64 tokens; `fields` go with the request."""
    body = {"model": "demo", "messages": [{"role": "user", "content": prompt}], "max_tokens": 64, **fields}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def keyed(launch_demo: LaunchDemo) -> Launch:
    """A server with a generated key, that serves for the tests of this module."""
    one = launch_demo("server.api_key=generate", "generation=greedy")
    one.wait_ready()
    return one


def test_the_curl_line_answers_as_pasted(keyed: Launch) -> None:
    curl = keyed.stdout[keyed.stdout.index("curl") :].partition("\n\n")[0]

    answer = subprocess.run(["bash", "-c", f"{curl} -s"], capture_output=True, text=True, check=True).stdout

    assert "demo model" in json.loads(answer)["choices"][0]["message"]["content"]


def test_the_client_snippet_answers_as_pasted(keyed: Launch) -> None:
    snippet = keyed.stdout[keyed.stdout.index("from openai") :]

    answer = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True).stdout

    assert "demo model" in answer


def test_the_demo_model_recites_its_text(keyed: Launch) -> None:
    key = (keyed.run_folder() / "api_key").read_text()

    answer = ask(keyed.wait_ready(), "Tell me a story.", key)

    assert STORY in answer.json()["choices"][0]["message"]["content"]


def test_a_request_without_the_key_is_refused(keyed: Launch) -> None:
    assert ask(keyed.wait_ready(), "Hello!").status_code == 401


def test_the_key_is_in_no_file_but_its_own_and_in_no_command_line(keyed: Launch) -> None:
    keyed.wait_ready()
    key_file = keyed.run_folder() / "api_key"
    key = key_file.read_bytes()

    written = [path for path in keyed.folder.rglob("*") if path.is_file() and path != key_file]
    command_lines = [Path(f"/proc/{pid}/cmdline") for pid in psutil.pids()]

    assert [str(path) for path in written + command_lines if path.exists() and key in path.read_bytes()] == []


def test_the_server_takes_the_generation_defaults(keyed: Launch) -> None:
    log = (keyed.run_folder() / "server.log").read_text(errors="replace")

    assert "'override_generation_config': {'temperature': 0.0}" in log


def test_a_default_of_the_server_changes_answers_until_a_request_states_its_own(launch_demo: LaunchDemo) -> None:
    one = launch_demo("generation.temperature=2.0")  # at which even a model that knows its text by heart babbles
    url = one.wait_ready()

    by_default, by_request = ask(url, "Tell me a story."), ask(url, "Tell me a story.", temperature=0.0)

    told = [answer.json()["choices"][0]["message"]["content"] for answer in (by_default, by_request)]
    assert [STORY in text for text in told] == [False, True]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_after_a_signal(launch_demo: LaunchDemo, number: int, exit_code: int) -> None:
    one = launch_demo()
    url = one.wait_ready()
    os.kill(one.process.pid, number)

    assert (one.exit_code(), one.living(), is_open(url)) == (exit_code, [], False)
    assert one.record("status.json")["was_killed"] is False


def test_nothing_is_left_after_a_signal_while_the_engine_starts(launch_demo: LaunchDemo) -> None:
    one = launch_demo()
    one.wait_for(lambda: "starting the engine" in one.stderr)
    os.kill(one.process.pid, signal.SIGINT)

    assert (one.exit_code(), one.living(), one.record("result.json")["status"]) == (130, [], "interrupted")


def test_a_probe_answers_and_ends_by_itself(launch_demo: LaunchDemo) -> None:
    one = launch_demo("workload=probe", "generation=greedy")

    assert (one.exit_code(), "answer  I am a small demo model." in one.stdout, one.living()) == (0, True, [])


def test_a_dead_engine_fails_the_run_though_vllm_exits_with_0(launch_demo: LaunchDemo) -> None:
    one = launch_demo("server.restart=never")
    one.wait_ready()
    leader = psutil.Process(one.record("status.json")["pid"])
    engine = next(child for child in leader.children(recursive=True) if "EngineCore" in " ".join(child.cmdline()))
    engine.kill()

    assert (one.exit_code(), one.living(), one.record("status.json")["state"]) == (1, [], "failed")


def test_a_server_that_answers_health_and_dies_of_the_first_request_is_never_ready(launch_demo: LaunchDemo) -> None:
    one = launch_demo("inference.pipeline_parallel_size=2", "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null")

    assert (one.exit_code(), one.living(), (one.run_folder() / "endpoint.json").exists()) == (1, [], False)
    assert "the first request failed: HTTP 500" in one.stderr
    assert '"ready"' not in (one.run_folder() / "events.jsonl").read_text()


def test_a_configuration_that_vllm_refuses_shows_the_cause(launch_demo: LaunchDemo) -> None:
    one = launch_demo("inference.max_model_len=4096", "model.context_length=null")

    assert one.exit_code() == 1
    assert "User-specified max_model_len (4096) is greater than the derived max_model_len" in one.stderr
