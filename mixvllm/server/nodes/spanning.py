"""The leader of a server on several nodes: runs vLLM's front end here, and headless engines on the others.

Where one of them ends, all do: a server that has lost a part of its engine answers /health all the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from mixvllm.errors import MixvllmError
from mixvllm.machine.nodes import own_address
from mixvllm.machine.ports import lease_port
from mixvllm.server.nodes.leader import TICK_S, exit_code, noted_signals, share_ports
from mixvllm.server.nodes.others import NodeTask, Others, node_environment
from mixvllm.server.nodes.span import Span


def main(text: str) -> None:
    """Run the `Span` of `text`; end with the exit code of vLLM's front end, or 1 where another node was lost."""
    try:
        code = _run(Span.parse(text))
    except MixvllmError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 1
    sys.exit(code)


def _run(span: Span) -> int:
    address, interface = own_address(span.interface)
    share_ports()
    leases = [lease_port(address, "auto") for _ in range(1 if span.num_replicas == 1 else 2)]
    meeting = ["--master-addr", address, "--master-port", str(leases[0].port)]
    for lease in leases[1:]:
        meeting += ["--data-parallel-rpc-port", str(lease.port)]
    signals = noted_signals()
    front_end = subprocess.Popen(
        span.front_end_argv(meeting),
        stdin=subprocess.DEVNULL,
        env={**os.environ, **node_environment(address, interface)},
    )
    task = NodeTask(tuple(span.headless_argv(meeting)), is_ranked=True, interface=span.interface)
    others = Others(task, span.num_nodes - 1, os.environ)
    try:
        return _watch(front_end, others, signals)
    finally:
        others.end()
        for lease in leases:
            lease.release()


def _watch(front_end: subprocess.Popen[bytes], others: Others, signals: list[int]) -> int:
    while (status := front_end.poll()) is None:
        if (code := others.poll()) is not None:
            sys.stderr.write(f"mixvllm: the engine on another node ended: srun exited with {code}\n")
            return 1
        others.beat()
        while signals:
            front_end.send_signal(signals.pop(0))
        time.sleep(TICK_S)
    return exit_code(status)
