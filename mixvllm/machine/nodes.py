"""The nodes that a program may use, and the address by which they reach each other."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping

from mixvllm.errors import PreflightFailed


def num_allocated_nodes(environment: Mapping[str, str]) -> int:
    """Return how many nodes Slurm gave to this process; 1 outside a job."""
    count = environment.get("SLURM_JOB_NUM_NODES", "") if environment.get("SLURM_JOB_ID") else ""
    return int(count) if count.isdecimal() else 1


def own_address(interface: str | None) -> tuple[str, str | None]:
    """Return the address by which other nodes reach this one, and the interface that has it where it is known.

    Args:
        interface: its name (`ib0`), or a network that its address is in (`10.77.0.0/16`); None = the one that the
            name of this machine leads to.

    Raises:
        PreflightFailed: this machine has no such interface, or its name leads nowhere.
    """
    if interface is None:
        try:
            return socket.gethostbyname(socket.gethostname()), None
        except OSError as error:
            words = f"the name of this machine, {socket.gethostname()}, leads to no address: {error}"
            raise PreflightFailed(f"{words}\n  next: server.interface=NAME, of {_listed()}") from None
    for name, address in _addresses():
        if name == interface or _is_within(address, interface):
            return address, name
    raise PreflightFailed(f"server.interface={interface}: no such interface here\n  next: one of {_listed()}")


def _addresses() -> list[tuple[str, str]]:
    """Return the IPv4 addresses of this machine with their interfaces, loopback last."""
    import psutil

    found = [
        (name, address.address)
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family == socket.AF_INET
    ]
    return sorted(found, key=lambda each: ipaddress.ip_address(each[1]).is_loopback)


def _is_within(address: str, network: str) -> bool:
    try:
        return "/" in network and ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _listed() -> str:
    return ", ".join(f"{name} ({address})" for name, address in _addresses())
