"""Ports: find a free one, keep other launchers off it, and name who holds one that is not."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mixvllm.errors import ConfigError, Fault, PortInUse
from mixvllm.machine.folders import private_tmp

FIRST_PORT_VARIABLE = "MIXVLLM_FIRST_PORT"
"""Environment variable: where `auto` begins; 8000, vLLM's own default, without it."""
_NUM_AUTO_PORTS = 1000
_LAST_FIRST_PORT = 31768  # Linux gives the ports from 32768 on to whoever connects


@dataclass
class PortLease:
    """A port that no other launcher of this user takes until `release`.

    vLLM itself binds its port when it starts and listens only when the model is loaded; in between, the kernel would
    let a second server bind it too.
    """

    port: int
    _lock: IO[str]

    def release(self) -> None:
        """Let others have the port. May be called twice."""
        self._lock.close()


def lease_port(host: str, port: int | str) -> PortLease:
    """Return a lease of `port`, or of the first free one where it is `auto`.

    Raises:
        ConfigError: the environment names no port to begin at.
        PortInUse: somebody has the port; the message names the process where the system tells.
    """
    if port != "auto":
        lease = _try_lease(host, int(port))
        if lease is None:
            raise PortInUse(f"{_holder(int(port))}\n  next: stop it, or choose another port: server.port=auto")
        return lease
    candidates = auto_ports()
    for candidate in candidates:
        lease = _try_lease(host, candidate)
        if lease is not None:
            return lease
    raise PortInUse(f"no free port from {candidates[0]} to {candidates[-1]} on {host}\n  next: server.port=NUMBER")


def auto_ports() -> range:
    """Return the ports that `auto` tries in order, below the ephemeral range.

    Raises:
        ConfigError: the environment names no such port to begin at.
    """
    first = os.environ.get(FIRST_PORT_VARIABLE, "8000")
    if not first.isdecimal() or not 1024 <= int(first) <= _LAST_FIRST_PORT:
        raise ConfigError([Fault(FIRST_PORT_VARIABLE, f"must be a port from 1024 to {_LAST_FIRST_PORT}", first)])
    return range(int(first), int(first) + _NUM_AUTO_PORTS)


def is_listening(port: int) -> bool:
    """Whether any process of this machine listens on `port`."""
    return any(_listeners(port))


def _try_lease(host: str, port: int) -> PortLease | None:
    lock = _lock_file(port).open("w", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    if _is_free(host, port):
        return PortLease(port, lock)
    lock.close()
    return None


def _lock_file(port: int) -> Path:
    return private_tmp() / f"port-{port}.lock"


def _is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `port`. Without SO_REUSEADDR, so that a port that is only bound shows too."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno == errno.EADDRINUSE and _only_waits(port)
    return True


def _only_waits(port: int) -> bool:
    """Whether only closed connections (TIME_WAIT) of an earlier server keep `port`; vLLM can bind over those."""
    import psutil

    held = [link for link in psutil.net_connections(kind="tcp") if link.laddr and link.laddr.port == port]
    return bool(held) and all(link.status == psutil.CONN_TIME_WAIT for link in held)


def _listeners(port: int) -> list[int | None]:
    """Return the process ids that listen on `port`; None for those of other users, whom the system does not name."""
    import psutil

    links = psutil.net_connections(kind="tcp")
    return [link.pid for link in links if link.status == psutil.CONN_LISTEN and link.laddr and link.laddr.port == port]


def _holder(port: int) -> str:
    import psutil

    pids = [pid for pid in _listeners(port) if pid]
    if not pids:
        return f"port {port} is in use by another launcher of yours, or by a process that this user may not see"
    try:
        process = psutil.Process(pids[0])
        return f"port {port} is in use by process {process.pid} ({process.name()}, user {process.username()})"
    except psutil.Error:
        return f"port {port} is in use by process {pids[0]}"
