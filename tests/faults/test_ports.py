"""A port belongs to one server; where somebody else has it, the run moves on or says so."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import PortInUse, ServerDied, ServerFailed, ServerForeign, ServerNotReady
from mixvllm.machine import ports
from mixvllm.server.client import ServerClient
from mixvllm.server.limits import StartLimit
from mixvllm.server.readiness import Readiness
from tests.faults.launched import LaunchFake
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import Serve
from tests.faults.strangers import listener, stranger
from tests.ports import find_port

LOADING: dict[str, Any] = {"slow_phases_s": {"weights": 2}}
"""A start in which there is time to take the port."""


def test_of_two_starts_on_one_port_one_serves_and_the_other_starts_nothing(launch_fake: LaunchFake) -> None:
    port = find_port()
    both = [launch_fake(f"server.port={port}", **LOADING) for _ in range(2)]
    both[0].launch.wait_for(lambda: all("print(" in one.launch.stdout or one.has_ended for one in both))

    (winner,) = [one for one in both if not one.has_ended]
    (loser,) = [one for one in both if one.has_ended]
    assert f"port {port} is in use by another launcher of yours" in loser.launch.stderr
    assert (loser.launch.exit_code(), loser.folder.server_log.exists()) == (1, False)
    assert winner.wait_ready() == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("taken_by", "first"), [(listener, LOADING), (stranger, {"hang_in": "weights"})], ids=["silent", "that answers"]
)
def test_a_port_that_is_taken_while_loading_is_left_for_another_one(
    serve: Serve,
    taken_by: Callable[[int], AbstractContextManager[Any]],
    first: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(ports, "auto_ports", lambda: range(first := find_port(), first + 100))
    starts = {"starts_file": str(tmp_path / "starts"), "by_start": [first, {}]}
    one = serve({"port": "auto", "restart_max_attempts": 1}, **starts)
    port = one.service.server.address.lease.port
    one.pid("APIServer")

    with taken_by(port):
        one.service.wait_ready()

        assert (one.service.server.address.lease.port != port, one.ask()) == (True, 200)
    assert one.names.count("spawned") == 2
    one.end()


def test_a_start_on_another_port_has_no_more_time_than_the_first(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ports, "auto_ports", lambda: range(first := find_port(), first + 100))
    starts = {"starts_file": str(tmp_path / "starts"), "by_start": [LOADING, {"hang_in": "weights"}]}

    class AtTheSecond(StartLimit):
        """Comes as soon as a second server was started."""

        def raise_if_over(self, phase: str, log: Path) -> None:
            if one.names.count("spawned") == 2:
                super().raise_if_over(phase, log)

    limit = AtTheSecond(time.monotonic(), "the job ends", "raise hydra.launcher.timeout_min", "")
    one = serve({"port": "auto"}, start_limit=limit, **starts)
    one.pid("APIServer")

    with listener(one.service.server.address.lease.port), pytest.raises(ServerNotReady, match="the job ends"):
        one.service.wait_ready()
    one.service.stop()

    assert one.names.count("spawned") == 2
    assert_nothing_left(one.witness)


def test_a_fixed_port_that_is_taken_while_loading_is_an_error(serve: Serve) -> None:
    one = serve({"restart_max_attempts": 1}, **LOADING)
    one.pid("APIServer")

    with listener(one.service.server.address.lease.port):
        with pytest.raises(ServerDied, match="Another process has the port"):
            one.service.wait_ready()
        one.service.stop()
        status = one.status()

    assert (status["state"], status["failure"]["id"]) == ("failed", "port-in-use")
    assert_nothing_left(one.witness)


def test_a_stranger_that_answers_on_a_fixed_port_is_not_taken_for_the_server(serve: Serve) -> None:
    one = serve(**LOADING)
    one.pid("APIServer")

    with stranger(one.service.server.address.lease.port):
        with pytest.raises(ServerForeign, match=r"it serves \['a/stranger'\], not ours"):
            one.service.wait_ready()
        one.service.stop()

    assert assert_nothing_left(one.witness)["state"] == "failed"


def test_ports_that_are_lost_again_and_again_are_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "auto_ports", lambda: range(first := find_port(), first + 100))
    one = serve({"port": "auto", "restart_max_attempts": 2}, wrong_identity=True)

    with pytest.raises(ServerFailed):
        one.service.wait_ready()
    one.service.stop()

    assert one.names.count("spawned") == 6
    assert_nothing_left(one.witness)


def test_a_port_that_is_shared_with_a_stranger_is_not_ready() -> None:
    with stranger(0, "ours@1") as port, stranger(port, "theirs@2"), ThreadPoolExecutor() as background:
        told = [_what_is_told(port, background) for _ in range(20)]

    # Which of the two gets a connection is chance: all of an attempt's reach ours once in 256 times.
    assert told.count("foreign") >= 18


def _what_is_told(port: int, background: Executor) -> str:
    """Ask once whether the server is ready; the stand-ins produce no token."""
    client = ServerClient(f"http://127.0.0.1:{port}", None)
    readiness = Readiness(client, "ours@1", "ours", is_pooling=False, background=background)
    try:
        while not readiness.ask(1.0):
            pass
    except ServerForeign:
        return "foreign"
    except ServerNotReady:
        return "not ready"
    finally:
        client.close()
    return "ready"


def test_a_listener_shows_though_it_would_share_its_port() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()

        with pytest.raises(PortInUse):
            ports.lease_port("127.0.0.1", other.getsockname()[1])
