"""The leader of a server on several nodes: runs vLLM's front end here, and headless engines on the others.

Where one of them ends, all do: a server that has lost a part of its engine answers /health all the same.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from mixvllm.machine.nodes import own_address
from mixvllm.machine.ports import lease_port
from mixvllm.server.nodes.leader import TICK_S, end_with, exit_code, noted_signals, share_ports, start_part
from mixvllm.server.nodes.others import ADDRESS, NodeTask, Others, node_environment
from mixvllm.server.nodes.span import Span

_RAY_START_S = 120.0
_RAY_STOP_S = 10.0


def main(text: str) -> None:
    """Run the `Span` of `text`; end with the exit code of vLLM's front end, or 1 where another node was lost."""
    end_with(lambda: _run(Span.parse(text)))


def _run(span: Span) -> int:
    address, interface = own_address(span.interface)
    share_ports()
    signals = noted_signals()
    with ExitStack() as leases:

        def lease() -> str:
            taken = lease_port(address, "auto")
            leases.callback(taken.release)
            return str(taken.port)

        environment = {**os.environ, **node_environment(address, interface)}
        parts = _with_ray if span.uses_ray else _by_themselves
        with parts(span, address, lease, environment) as (front_end, helpers):
            return _watch(front_end, helpers, signals)


Parts = tuple["subprocess.Popen[bytes]", "Helpers"]
"""The front end, and what it needs."""


@dataclass
class Helpers:
    """What must live beside the front end.

    Args:
        others: the other nodes.
        ray: Ray's processes of this node; None without it.
    """

    others: Others
    ray: subprocess.Popen[bytes] | None = None

    def find_lost(self) -> str | None:
        """Return which of them has ended; None where all live."""
        if self.ray is not None and (code := self.ray.poll()) is not None:
            return f"Ray on the first node ended: exit code {code}"
        code = self.others.poll()
        return None if code is None else f"the engine on another node ended: srun exited with {code}"


@contextmanager
def _by_themselves(
    span: Span, address: str, lease: Callable[[], str], environment: Mapping[str, str]
) -> Iterator[Parts]:
    meeting = ["--master-addr", address, "--master-port", lease()]
    if span.num_replicas > 1:
        meeting += ["--data-parallel-rpc-port", lease()]
    front_end = start_part(span.wrapper, span.front_end_argv(meeting), environment)
    task = NodeTask(tuple(span.headless_argv(meeting)), span.interface, wrapper=span.wrapper)
    others = Others(task, span.num_nodes - 1, os.environ)
    try:
        yield front_end, Helpers(others)
    finally:
        others.end()


@contextmanager
def _with_ray(span: Span, address: str, lease: Callable[[], str], environment: Mapping[str, str]) -> Iterator[Parts]:
    port = lease()
    folder = tempfile.mkdtemp(prefix="mxr-", dir="/tmp")
    own = ["--head", "--node-ip-address", address, "--port", port, "--include-dashboard", "false"]
    ray = start_part(span.wrapper, span.ray_argv(*own, "--temp-dir", folder), environment)
    joining = span.ray_argv("--address", f"{address}:{port}", "--node-ip-address", ADDRESS)
    task = NodeTask(tuple(joining), span.interface, wrapper=span.wrapper)
    others = Others(task, span.num_nodes - 1, os.environ)
    try:
        _await_ray(ray, others, address, int(port))
        meeting = {**environment, "RAY_ADDRESS": f"{address}:{port}"}
        front_end = start_part(span.wrapper, span.argv_without_nodes, meeting)
        yield front_end, Helpers(others, ray)
    finally:
        others.end()
        ray.terminate()
        with suppress(subprocess.TimeoutExpired):
            ray.wait(_RAY_STOP_S)
        shutil.rmtree(folder, ignore_errors=True)


def _await_ray(ray: subprocess.Popen[bytes], others: Others, address: str, port: int) -> None:
    """Return when Ray answers, or has ended, which is seen by whoever watches it."""
    deadline = time.monotonic() + _RAY_START_S
    while ray.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address, port), timeout=1.0):
            return
        others.beat()
        time.sleep(TICK_S)


def _watch(front_end: subprocess.Popen[bytes], helpers: Helpers, signals: list[int]) -> int:
    while (status := front_end.poll()) is None:
        if (lost := helpers.find_lost()) is not None:
            sys.stderr.write(f"mixvllm: {lost}\n")
            return 1
        helpers.others.beat()
        while signals:
            front_end.send_signal(signals.pop(0))
        time.sleep(TICK_S)
    return exit_code(status)
