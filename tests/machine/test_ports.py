"""Ports are probed and leased; who holds one is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from mixvllm.errors import ConfigError, PortInUse
from mixvllm.machine.ports import FIRST_PORT_VARIABLE, auto_ports, is_listening, lease_port
from tests.ports import find_port

HOST = "127.0.0.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def test_a_free_port_is_leased() -> None:
    port = find_port()

    lease = lease_port(HOST, port)

    assert lease.port == port
    lease.release()


def test_a_listener_on_the_port_is_named(listener: socket.socket) -> None:
    with pytest.raises(PortInUse, match=rf"port \d+ is in use by process {os.getpid()} \(.+, user .+\)\n  next: "):
        lease_port(HOST, port_of(listener))


def test_a_port_that_is_only_bound_is_not_free() -> None:
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, 0))

        with pytest.raises(PortInUse):
            lease_port(HOST, port_of(bound))


def test_connections_of_an_earlier_server_do_not_hold_a_port() -> None:
    server = socket.create_server((HOST, find_port()))
    client = socket.create_connection((HOST, port_of(server)))
    accepted, _ = server.accept()
    port = port_of(server)
    for closed in (accepted, client, server):  # the side that closes first keeps the port in TIME_WAIT
        closed.close()

    lease = lease_port(HOST, port)

    assert lease.port == port
    lease.release()


def test_a_leased_port_is_not_leased_again_until_it_is_released() -> None:
    port = find_port()
    lease = lease_port(HOST, port)

    with pytest.raises(PortInUse, match="another launcher of yours"):
        lease_port(HOST, port)
    lease.release()

    lease_port(HOST, port).release()


def test_auto_gives_each_its_own_port() -> None:
    leases = [lease_port(HOST, "auto") for _ in range(3)]

    ports = [lease.port for lease in leases]
    for lease in leases:
        lease.release()
    assert (len(set(ports)), all(port in auto_ports() for port in ports)) == (3, True)


def test_auto_begins_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FIRST_PORT_VARIABLE, "21000")
    lease = lease_port(HOST, "auto")
    lease.release()

    assert lease.port in range(21000, 21100)


@pytest.mark.parametrize("first", ["", "http", "80", "32000", "-1"])
def test_a_beginning_that_is_no_usable_port_is_told(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FIRST_PORT_VARIABLE, first)

    with pytest.raises(ConfigError, match="must be a port from 1024 to 31768"):
        lease_port(HOST, "auto")


def test_listening_is_seen(listener: socket.socket) -> None:
    assert (is_listening(port_of(listener)), is_listening(find_port())) == (True, False)
