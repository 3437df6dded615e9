"""The leader of several servers with vLLM's router in front of them: all parts live, or none does.

On the first node it has the router; on each other one it has servers alone, and prints where they answer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from mixvllm.machine.nodes import own_address
from mixvllm.machine.ports import PortLease, lease_port
from mixvllm.machine.program import module_argv
from mixvllm.runs.files import write_json
from mixvllm.server.nodes.fleet import Fleet
from mixvllm.server.nodes.leader import TICK_S, end_with, noted_signals, share_ports, start_part
from mixvllm.server.nodes.others import NodeTask, Others

_LOOPBACK = "127.0.0.1"
_ANNOUNCEMENT = "mixvllm: replicas at "
_ROUTER_S = 5.0  # for the router to end once its servers have


def main(text: str) -> None:
    """Run the `Fleet` of `text`; end with 0 where it was asked to end, and all parts did so well, else with 1."""
    end_with(lambda: Leader(Fleet.parse(text)).run())


class Leader:
    """Starts the parts of a fleet on this node, and has those on the others started.

    Args:
        fleet: what to run.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._signals = noted_signals()
        self._is_stopping = False
        share_ports()
        self._address = _LOOPBACK if fleet.num_nodes == 1 else own_address(fleet.interface)[0]
        self._leases: list[PortLease] = []
        self._replicas = [self._start_replica(index) for index in range(fleet.num_here)]
        self._urls = [f"http://{self._address}:{lease.port}" for lease in self._leases]
        self._router: subprocess.Popen[bytes] | None = None
        self._others = self._start_others() if fleet.router and fleet.num_nodes > 1 else None

    def run(self) -> int:
        """Return the exit code once all parts have ended."""
        if not self._fleet.router:
            sys.stdout.write(f"{_ANNOUNCEMENT}{' '.join(self._urls)}\n")
            sys.stdout.flush()
        try:
            code = self._watch()
        finally:
            if self._others is not None:
                self._others.end()
            self._end_router()
            for lease in self._leases:
                lease.release()
        return code

    def _start_replica(self, index: int) -> subprocess.Popen[bytes]:
        lease = lease_port(self._address, "auto")
        self._leases.append(lease)
        argv = [*self._fleet.argv, "--host", self._address, "--port", str(lease.port)]
        environment = {**os.environ, **self._fleet.environment_of(index, os.environ)}
        return start_part(self._fleet.wrapper, argv, environment)

    def _start_others(self) -> Others:
        fleet = self._fleet
        task = NodeTask(
            argv=tuple(module_argv("mixvllm.server.nodes.routing", fleet.elsewhere.text)),
            interface=fleet.interface,
            answers_clients=True,
            drain_s=fleet.drain_s,
        )
        others = Others(task, fleet.num_nodes - 1, os.environ, subprocess.PIPE)
        threading.Thread(target=self._read, args=[others.output], daemon=True).start()
        return others

    def _read(self, output: IO[bytes]) -> None:
        """Pass on what the other nodes print, and note where their servers answer."""
        for line in output:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            text = line.decode(errors="replace").strip()
            if text.startswith(_ANNOUNCEMENT):
                self._urls += text.removeprefix(_ANNOUNCEMENT).split()

    def _watch(self) -> int:
        while not (self._is_stopping and all(replica.poll() is not None for replica in self._replicas)):
            self._pass_signals()
            lost = None if self._is_stopping else self._find_lost()
            if lost is not None:
                sys.stderr.write(f"mixvllm: {lost}; all parts of the server end\n")
                return 1
            if self._router is None and self._fleet.router and not self._is_stopping and self._all_announced():
                self._start_router()
            if self._others is not None:
                self._others.beat()
            time.sleep(TICK_S)
        return int(any(replica.poll() != 0 for replica in self._replicas))

    def _pass_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            self._is_stopping = True
            for replica in self._replicas:
                replica.send_signal(number)
            if self._others is not None:
                self._others.tell_stop()
            if self._router is None or number == signal.SIGINT:
                self._end_router()

    def _find_lost(self) -> str | None:
        """Return which part has ended; None where all live."""
        for index, replica in enumerate(self._replicas):
            if (status := replica.poll()) is not None:
                return f"replica {index} at {self._urls[index]} ended by itself: exit code {status}"
        if self._router is not None and (status := self._router.poll()) is not None:
            return f"the router ended by itself: exit code {status}"
        if self._others is not None and (status := self._others.poll()) is not None:
            return f"the replicas on another node ended: srun exited with {status}"
        return None

    def _all_announced(self) -> bool:
        return len(self._urls) == self._fleet.num_here * self._fleet.num_nodes

    def _start_router(self) -> None:
        """Start the router, which waits for its servers and listens then."""
        write_json(Path(self._fleet.urls_file), {"urls": self._urls})
        metrics = lease_port(_LOOPBACK, "auto")
        self._leases.append(metrics)
        own = ["--worker-urls", *self._urls, "--prometheus-port", str(metrics.port)]
        self._router = subprocess.Popen([*self._fleet.router, *own], stdin=subprocess.DEVNULL)
        if self._others is not None:
            self._others.tell_ready()

    def _end_router(self) -> None:
        if self._router is None:
            return
        self._router.terminate()
        try:
            self._router.wait(_ROUTER_S)
        except subprocess.TimeoutExpired:
            self._router.kill()
            self._router.wait()
