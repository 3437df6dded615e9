"""Ports: find a free one, keep other launchers off it, and name who holds one that is not."""

from __future__ import annotations

import errno
import fcntl
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mixvllm.errors import PortInUse
from mixvllm.machine.folders import private_tmp

AUTO_PORTS = range(8000, 9000)
"""Ports that `auto` tries in order: below the ephemeral range, from vLLM's own default on."""


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
        PortInUse: somebody has the port; the message names the process where the system tells.
    """
    if port != "auto":
        lease = _try_lease(host, int(port))
        if lease is None:
            raise PortInUse(f"{_holder(int(port))}\n  next: stop it, or choose another port: server.port=auto")
        return lease
    for candidate in AUTO_PORTS:
        lease = _try_lease(host, candidate)
        if lease is not None:
            return lease
    raise PortInUse(f"no free port from {AUTO_PORTS[0]} to {AUTO_PORTS[-1]} on {host}\n  next: server.port=NUMBER")


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
