"""The parts of a server on the other nodes of a job, as the tasks of one step.

srun ends its tasks at once when it gets SIGTERM, so it never does: they are told over its standard input, which each
of them reads, and take silence for the death of the leader.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from mixvllm.machine.program import module_argv
from mixvllm.runtime.variables import OF_OUTER_STEP
from mixvllm.server.nodes.message import Message
from mixvllm.vllm.environment import API_KEY_VARIABLE

RANK = "{rank}"
ADDRESS = "{address}"
READY = "ready"
"""Line that says that the server serves, so that a stop lets requests finish."""
_BEAT_S = 1.0
_STOP_S = 15.0  # beside the drain, before srun is killed
_OF_THIS_NODE = ("TMPDIR", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class NodeTask(Message):
    """What each of the other nodes runs.

    Args:
        argv: program first; the words `RANK` and `ADDRESS` in it stand for those of the node.
        interface: by which the nodes reach each other, see `own_address`.
        answers_clients: whether it needs the clients' key.
        drain_s: seconds that requests in flight get at a stop.
        wrapper: what it is wrapped in on its node, see `Wrapper.record`; empty where it wraps by itself.
    """

    argv: tuple[str, ...]
    interface: str | None
    answers_clients: bool = False
    drain_s: float = 0.0
    wrapper: dict[str, Any] = field(default_factory=dict)

    def argv_of(self, rank: int, address: str) -> list[str]:
        """Return the command of the node `rank`, from 1, which others reach at `address`."""
        words = {RANK: str(rank), ADDRESS: address}
        return [words.get(word, word) for word in self.argv]


def node_environment(address: str, interface: str | None) -> dict[str, str]:
    """Return what engines get that are to meet over `address`, which `interface` has where that is known."""
    named = {name: interface for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if interface is not None}
    return {"VLLM_HOST_IP": address, **named}


class Others:
    """The other nodes.

    Args:
        task: what each of them runs.
        num_nodes: how many they are.
        environment: of this process.
        output: where what they print goes; None = where this process prints.
    """

    def __init__(
        self, task: NodeTask, num_nodes: int, environment: Mapping[str, str], output: int | None = None
    ) -> None:
        reader, self._writer = os.pipe()
        argv = _srun_argv(num_nodes, environment)
        environment = _environment_of_others(environment, answers_clients=task.answers_clients)
        self._step = subprocess.Popen(argv, stdin=reader, stdout=output, env=environment)
        os.close(reader)
        self._limit_s = task.drain_s + _STOP_S
        self._due = 0.0
        self._is_told = False
        self._send(task.text)
        os.set_blocking(self._writer, False)

    @property
    def output(self) -> IO[bytes] | None:
        """What they print, where it was to be a pipe."""
        return self._step.stdout

    def poll(self) -> int | None:
        """Return the exit code of the step, or None while all of it lives."""
        return self._step.poll()

    def beat(self) -> None:
        """Tell them, from time to time, that this process lives."""
        if not self._is_told and time.monotonic() >= self._due:
            self._due = time.monotonic() + _BEAT_S
            self._send("")

    def tell_ready(self) -> None:
        """Tell them that the server serves."""
        self._send(READY)

    def tell_stop(self) -> None:
        """Have them end what they run."""
        if not self._is_told:
            self._is_told = True
            os.close(self._writer)

    def end(self) -> None:
        """Have them end what they run, and wait until they have."""
        self.tell_stop()
        try:
            self._step.wait(self._limit_s)
        except subprocess.TimeoutExpired:
            self._step.terminate()  # srun kills its tasks then
            self._step.wait()

    def _send(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._writer, line.encode() + b"\n")


def _srun_argv(num_nodes: int, environment: Mapping[str, str]) -> list[str]:
    """Return the command of the step: a task on each node but the first, beside what runs there already."""
    cores = environment.get("SLURM_CPUS_PER_TASK")
    return [
        "srun",
        "--overlap",
        f"--nodes={num_nodes}",
        f"--ntasks={num_nodes}",
        "--ntasks-per-node=1",
        "--relative=1",
        "--distribution=block",
        *([f"--cpus-per-task={cores}"] if cores else []),
        "--kill-on-bad-exit=1",
        "--export=ALL",
        *module_argv("mixvllm.server.nodes.rank", ""),
    ]


def _environment_of_others(environment: Mapping[str, str], *, answers_clients: bool) -> dict[str, str]:
    """Return what srun gets: not what is of this node, and of the step that this process is in, whose options it is."""
    left_out = {*_OF_THIS_NODE, *([] if answers_clients else [API_KEY_VARIABLE])}
    return {
        name: value
        for name, value in environment.items()
        if name not in left_out and not name.startswith(OF_OUTER_STEP)
    }
