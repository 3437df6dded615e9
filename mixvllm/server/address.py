"""Where one server answers, and how it is told apart from any other."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

from mixvllm.machine.ports import PortLease
from mixvllm.server.key import ApiKey


@dataclass(frozen=True)
class Address:
    """The address of one server.

    Args:
        host: what it binds.
        lease: keeps its port; released when it has stopped.
        key: what clients send; None where it needs none.
        is_tls: whether it speaks HTTPS, since it was given a certificate.
        advertised: by which other machines reach it, where an interface was chosen for that.
        nonce: what no other server has.
    """

    host: str
    lease: PortLease
    key: ApiKey | None
    is_tls: bool = False
    advertised: str | None = None
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def url(self) -> str:
        """`http://host:port` (or `https`), as this machine reaches it."""
        return f"{'https' if self.is_tls else 'http'}://{_client_host(self.host)}:{self.lease.port}"

    def for_next_server(self) -> Address:
        """Return the same address for another server, which can be told apart from this one."""
        return replace(self, nonce=secrets.token_hex(4))

    def identity(self, model_name: str) -> str:
        """Return the served name that only this server has."""
        return f"{model_name}@{self.nonce}"


def _client_host(host: str) -> str:
    """Return the address by which this machine reaches a server that binds `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not a bind
    return f"[{reachable}]" if ":" in reachable and not reachable.startswith("[") else reachable
