"""The leader of a server on several nodes: runs vLLM's front end here, and headless engines on the others by one srun.

srun ends its tasks at once when it gets SIGTERM, so it never does: the tasks are told over its standard input, which
each of them reads, and take silence for the death of this program. Where one of them ends, srun ends the others, and
this program itself: a server that has lost a part of its engine answers /health all the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from mixvllm.errors import MixvllmError
from mixvllm.machine.nodes import own_address
from mixvllm.machine.ports import PortLease, lease_port
from mixvllm.machine.program import module_argv
from mixvllm.server.nodes import Span, node_environment
from mixvllm.vllm.environment import API_KEY_VARIABLE

BEAT_S = 1.0
"""Seconds between two lines to the other nodes."""
_TICK_S = 0.05
_OTHERS_S = 15.0  # for the other nodes to end their engines, before srun is killed
_FRONT_END_LOST = 1
_OF_THIS_NODE = ("TMPDIR", "CUDA_VISIBLE_DEVICES", API_KEY_VARIABLE)
_OF_OUTER_STEP = ("SLURM_STEP", "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NNODES", "SLURM_CPU_BIND", "SLURM_DISTRIBUTION")


def main(text: str) -> None:
    """Run the `Span` of `text`, and end with the exit code of vLLM's front end, or 1 where another node was lost."""
    try:
        code = _run(Span.parse(text))
    except MixvllmError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 1
    sys.exit(code)


def _run(span: Span) -> int:
    address, interface = own_address(span.interface)
    tempfile.tempdir = span.tmp
    leases = [lease_port(address, "auto") for _ in range(1 if span.num_replicas == 1 else 2)]
    meeting = ["--master-addr", address, "--master-port", str(leases[0].port)]
    for lease in leases[1:]:
        meeting += ["--data-parallel-rpc-port", str(lease.port)]
    with _signals_noted() as noted:
        front_end = subprocess.Popen(
            span.argv_of(0, meeting),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **node_environment(address, interface)},
        )
        others = Others(replace(span, argv=(*span.argv, *meeting)), os.environ)
        try:
            return _watch(front_end, others, noted)
        finally:
            others.end()
            _release(leases)


def _watch(front_end: subprocess.Popen[bytes], others: Others, noted: list[int]) -> int:
    while (status := front_end.poll()) is None:
        if (code := others.poll()) is not None:
            sys.stderr.write(f"mixvllm: the engine on another node ended: srun exited with {code}\n")
            return _FRONT_END_LOST
        others.beat()
        while noted:
            front_end.send_signal(noted.pop(0))
        time.sleep(_TICK_S)
    return status if status >= 0 else 128 - status


class Others:
    """The engines on the other nodes, as tasks of one step.

    Args:
        span: its argv holds where the engines meet.
        environment: of this process.
    """

    def __init__(self, span: Span, environment: Mapping[str, str]) -> None:
        reader, self._writer = os.pipe()
        self._step = subprocess.Popen(
            _srun_argv(span, environment), stdin=reader, env=_environment_of_others(environment)
        )
        os.close(reader)
        self._due = 0.0
        self._send(span.text)
        os.set_blocking(self._writer, False)

    def poll(self) -> int | None:
        """Return the exit code of the step, or None while all of it lives."""
        return self._step.poll()

    def beat(self) -> None:
        """Tell them, from time to time, that this process lives."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + BEAT_S
            self._send("")

    def end(self) -> None:
        """Have them end their engines, and wait until they have."""
        os.close(self._writer)
        try:
            self._step.wait(_OTHERS_S)
        except subprocess.TimeoutExpired:
            self._step.terminate()  # srun kills its tasks then
            self._step.wait()

    def _send(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._writer, line.encode() + b"\n")


def _srun_argv(span: Span, environment: Mapping[str, str]) -> list[str]:
    """Return the command of the step: a task on each node but the first, beside what runs there already."""
    num_others = span.num_nodes - 1
    cores = environment.get("SLURM_CPUS_PER_TASK")
    return [
        "srun",
        "--overlap",
        f"--nodes={num_others}",
        f"--ntasks={num_others}",
        "--ntasks-per-node=1",
        "--relative=1",
        "--distribution=block",
        *([f"--cpus-per-task={cores}"] if cores else []),
        "--kill-on-bad-exit=1",
        "--export=ALL",
        *module_argv("mixvllm.server.nodes.rank", ""),
    ]


def _environment_of_others(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what srun gets: not what is of this node, and of the step that this process is in, whose options it is."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _OF_THIS_NODE and not name.startswith(_OF_OUTER_STEP)
    }


def _release(leases: list[PortLease]) -> None:
    for lease in leases:
        lease.release()


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Collect the signals that ask for an end, so that they are passed on in order."""
    noted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: noted.append(number))
    yield noted
