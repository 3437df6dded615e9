"""Where one server answers, and how it is told apart from any other."""

from __future__ import annotations

from dataclasses import dataclass

from mixvllm.machine.ports import PortLease
from mixvllm.server.key import ApiKey


@dataclass(frozen=True)
class Address:
    """The address of one server.

    Args:
        host: what it binds.
        lease: keeps its port; released when it has stopped.
        identity: the served name that only this server has.
        key: what clients send; None where it needs none.
        is_tls: whether it speaks HTTPS, since it was given a certificate.
    """

    host: str
    lease: PortLease
    identity: str
    key: ApiKey | None
    is_tls: bool = False

    @property
    def url(self) -> str:
        """`http://host:port` (or `https`), as this machine reaches it."""
        return f"{'https' if self.is_tls else 'http'}://{_client_host(self.host)}:{self.lease.port}"


def _client_host(host: str) -> str:
    """Return the address by which this machine reaches a server that binds `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not a bind
    return f"[{reachable}]" if ":" in reachable and not reachable.startswith("[") else reachable
