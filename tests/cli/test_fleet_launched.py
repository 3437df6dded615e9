"""The commands on runs, against launchers and servers as users start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from mixvllm.server.processes import ProcessId, send_signal
from mixvllm.vllm.metrics import read_metrics
from tests.launches import Launch, Run

TOO_LONG = (
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed,"
    " which is larger than the available KV cache memory (4.32 GiB). Based on the available memory, the estimated"
    " maximum model length is 35376."
)


def mixvllm(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command with `words`."""
    return subprocess.run([sys.executable, "-m", "mixvllm.cli.app", *words], capture_output=True, text=True, timeout=60)


def listed() -> dict[str, Any]:
    """Return what `mixvllm ps --json` tells of the only run."""
    (run,) = json.loads(mixvllm("ps", "--all", "--json").stdout)
    return dict(run)


def num_running(url: str) -> int | None:
    """Return how many requests the server at `url` has in work."""
    return read_metrics(httpx.get(f"{url}/metrics", timeout=60).text).num_requests_running


def kill(one: Launch, *roles: str) -> None:
    """Kill processes that the run's record names."""
    status = one.record("status.json")
    for role in roles:
        send_signal(ProcessId(**status[role]), signal.SIGKILL)
    if "supervisor" in roles:
        one.exit_code()


def test_a_server_is_listed_reached_read_and_stopped_from_elsewhere(run: Run) -> None:
    one = run()
    url = one.wait_ready()

    waited, table, logs = mixvllm("wait", "--ready"), mixvllm("ps"), mixvllm("logs", "-n", "1000")
    exports = mixvllm("url", "some/model").stdout
    stopped, again = mixvllm("stop"), mixvllm("stop")

    assert (waited.returncode, waited.stdout.rstrip().endswith(f"{url}/v1")) == (0, True)
    assert table.stdout.splitlines()[1].split()[1:4] == ["ready", "some/model", url]
    assert "Application startup complete" in logs.stdout
    assert (one.run_folder() / "server.log").read_text().startswith(logs.stdout)
    assert exports.splitlines() == [f"export OPENAI_BASE_URL={url}/v1", "export OPENAI_API_KEY=none"]
    assert (stopped.returncode, again.returncode, one.living(), listed()["state"]) == (0, 0, [], "stopped")
    assert one.exit_code() == 128 + signal.SIGTERM


def test_a_server_that_starts_is_stopped(run: Run) -> None:
    one = run(hang_in="weights")
    one.wait_for(lambda: one.run_folder().joinpath("status.json").exists())

    stopped = mixvllm("stop")

    assert (stopped.returncode, one.living(), listed()["state"]) == (0, [], "stopped")


def test_stops_at_once_let_requests_finish(run: Run) -> None:
    one = run("server.drain_timeout_s=60", token_delay_s=0.05)
    url = one.wait_ready()
    body = {"model": "some/model", "prompt": "x", "max_tokens": 100}
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx.post, f"{url}/v1/completions", json=body, timeout=60)
        one.wait_for(lambda: num_running(url) == 1)
        stops = [pool.submit(mixvllm, "stop") for _ in range(3)]

        codes = [stop.result().returncode for stop in stops]

        tokens = answer.result().json()["usage"]["completion_tokens"]
    assert (codes, tokens, listed()["state"]) == ([0, 0, 0], 100, "stopped")


def test_a_stop_now_waits_for_no_request(run: Run) -> None:
    one = run("server.drain_timeout_s=600", hang_on_term=True)
    one.wait_ready()

    stopped = mixvllm("stop", "--now")

    assert (stopped.returncode, one.living(), listed()["state"]) == (0, [], "stopped")


def test_a_server_whose_launcher_was_killed_is_stopped_by_its_guardian(run: Run) -> None:
    one = run()
    one.wait_ready()
    one.note_processes()
    kill(one, "supervisor")

    stopped = mixvllm("stop")

    assert (stopped.returncode, one.living(), listed()["state"]) == (0, [], "failed")
    assert listed()["cause"].startswith("the launcher was killed")


def test_what_launcher_and_guardian_left_is_found_and_ended(run: Run) -> None:
    one = run(num_workers=2, escape="setsid", stubborn=True)
    one.wait_ready()
    one.wait_for(lambda: len(json.loads((one.run_folder() / "processes.json").read_text())["known"]) >= 4)
    guardian = ProcessId(**one.record("status.json")["guardian"])
    os.kill(guardian.pid, signal.SIGSTOP)  # so that it does not notice
    kill(one, "supervisor", "guardian")

    lost, found = listed(), mixvllm("doctor")
    ended, again = mixvllm("doctor", "--end"), mixvllm("doctor")

    assert (lost["state"], lost["num_orphans"] > 0, found.returncode) == ("lost", True, 1)
    assert f"orphans of {lost['run']}" in found.stdout
    assert (ended.returncode, again.returncode, one.living(), listed()["state"]) == (0, 0, [], "failed")


def test_what_went_wrong_is_told_to_whoever_waits(run: Run) -> None:
    one = run("server.restart=never", die_in="kv_cache", die_log=[TOO_LONG])
    one.exit_code()

    waited, url = mixvllm("wait"), mixvllm("url")

    lines = waited.stderr.splitlines()
    assert (waited.returncode, url.returncode, url.stdout) == (1, 1, "")
    assert (lines[0].startswith("error: "), lines[1].startswith("  log:  "), TOO_LONG in lines[2]) == (True, True, True)
    assert lines[3] == "  try:  inference.max_model_len=35376"
