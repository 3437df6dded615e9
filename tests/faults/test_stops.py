"""A stop may be asked for at any time, by anybody, more than once; it is done once and leaves nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Timer

import pytest

from mixvllm.errors import Interrupted, ServerDied
from mixvllm.server import signals
from mixvllm.server.stopping import stop_runs
from tests.faults.launched import LaunchFake
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import Serve
from tests.sweep.sweeps import command as run_command
from tests.written_runs import wait_for

STOP = [sys.executable, "-m", "mixvllm.cli.app", "stop"]


def test_several_commands_stop_a_run_that_several_times_is_stopped_once(launch_fake: LaunchFake) -> None:
    one = launch_fake(stop_s=0.3)
    one.wait_ready()
    one.witness.note()
    commands = [subprocess.Popen([*STOP, one.folder.name], stderr=subprocess.PIPE) for _ in range(3)]

    codes = [command.wait(60) for command in commands]
    for command in commands:
        command.communicate()

    assert (codes, one.launch.exit_code()) == ([0, 0, 0], 143)
    assert assert_nothing_left(one.witness)["was_killed"] is False
    assert (one.names.count("draining"), one.names.count("stopped")) == (1, 1)


@pytest.mark.parametrize("phase", ["imports", "weights", "http"])
def test_a_stop_while_the_server_starts_ends_the_start(serve: Serve, phase: str) -> None:
    one = serve(hang_in=phase)
    one.pid("APIServer")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(one.service.wait_ready)
        if phase != "imports":
            wait_for(lambda: one.status()["phase"] == phase)
        one.wants_stop.append(True)
        assert type(waiting.exception(timeout=20)).__name__ == "Interrupted"

    assert one.end()["state"] == "stopped"


@pytest.mark.parametrize("policy", ["never", "on_failure"])
def test_a_server_that_hears_of_a_stop_first_has_not_failed(
    serve: Serve, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm tells all processes of a job, one by one."""
    monkeypatch.setattr(signals, "_BESIDE_S", 60.0)
    one = serve({"restart": policy})
    one.service.wait_ready()
    one.kill(one.leader, number=signal.SIGTERM)
    wait_for(lambda: one.service.server.poll() is not None)
    soon = Timer(0.1, one.wants_stop.append, [True])
    soon.start()

    with pytest.raises(Interrupted):
        one.check_until(lambda: False)
    soon.join()

    assert (one.end()["state"], one.names.count("spawned")) == ("stopped", 1)


def test_a_server_that_crashes_before_a_stop_has_failed_all_the_same(serve: Serve) -> None:
    one = serve({"restart": "never"})
    one.service.wait_ready()
    one.kill(one.leader)
    wait_for(lambda: one.service.server.poll() is not None)
    one.wants_stop.append(True)

    assert one.fail(ServerDied).cause == one.end()["cause"]


@pytest.mark.parametrize(
    "workload", [["workload=serve"], ["workload=command", run_command("sleep 30")]], ids=["serve", "command"]
)
def test_a_launcher_that_is_told_a_moment_after_its_server(launch_fake: LaunchFake, workload: list[str]) -> None:
    """The workload `serve` looks after the service, the others after the server."""
    one = launch_fake(*workload)
    one.wait_ready()
    one.kill(one.role("leader"), one.launch.process.pid, number=signal.SIGTERM)

    assert one.launch.exit_code() == 143
    assert assert_nothing_left(one.witness)["state"] == "stopped"
    assert json.loads(one.folder.result.read_text())["status"] == "interrupted"


def test_a_start_waits_for_no_stop_of_another_run(launch_fake: LaunchFake) -> None:
    one = launch_fake("server.drain_timeout_s=600", hang_on_term=True)
    one.wait_ready()
    one.kill(one.launch.process.pid, number=signal.SIGTERM)
    one.wait_state("draining")

    other = launch_fake("workload=probe")

    assert (other.launch.exit_code(), one.launch.process.poll()) == (0, None)
    one.kill(one.launch.process.pid, number=signal.SIGTERM)
    assert one.launch.exit_code() == 143
    assert_nothing_left(other.witness)
    assert_nothing_left(one.witness)


def test_two_runs_at_once_do_not_touch_each_other(launch_fake: LaunchFake) -> None:
    one, other = launch_fake("server.port=auto"), launch_fake("server.port=auto")
    urls = {one.wait_ready(), other.wait_ready()}
    folders = {run.status()["tmp_dir"] for run in (one, other)}
    one.kill(one.role("leader"), one.role("guardian"), one.launch.process.pid)
    wait_for(lambda: one.launch.process.poll() is not None)

    (state,) = stop_runs([one.folder])

    assert (len(urls), len(folders), state.state) == (2, 2, "failed")
    assert_nothing_left(one.witness)
    assert (other.status()["state"], other.launch.process.poll()) == ("ready", None)
    other.kill(other.launch.process.pid, number=signal.SIGTERM)
    assert other.launch.exit_code() == 143
    assert_nothing_left(other.witness)


def test_a_client_that_never_reads_its_answer_is_cut_off_at_the_deadline(serve: Serve) -> None:
    one = serve({"drain_timeout_s": 1}, {"max_model_len": 100_000})
    one.service.wait_ready()
    with unread_stream(one.service.server.address.lease.port):
        wait_for(lambda: one.folder.server_log.read_text().count("POST /v1/completions") == 2)

        status = one.end()

    assert (status["state"], status["was_killed"]) == ("stopped", True)


@contextmanager
def unread_stream(port: int) -> Iterator[None]:
    """Ask for a long answer, and read nothing of it."""
    body = json.dumps({"model": "some/model", "prompt": "x", "max_tokens": 90_000, "stream": True})
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall((head + body).encode())
        yield
