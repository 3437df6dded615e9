"""Starting and stopping again and again uses up nothing."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import psutil

from mixvllm import ModelConfig, ServeConfig, ServerConfig, start_server
from mixvllm.errors import ServerDied
from mixvllm.machine.folders import private_tmp
from mixvllm.runs.folder import RunFolder
from mixvllm.vllm.installation import Installation, find_installation
from tests.fakes.interpreter import make_interpreter
from tests.faults.served import QUICK
from tests.ports import find_port
from tests.written_runs import wait_for

NUM_CYCLES = 50
NUM_BEFORE = 5
"""Cycles after which everything that is made once is there."""

SEGMENT = f"psm_cycles_{os.getpid()}"


def test_fifty_starts_and_stops_use_up_nothing(tmp_path: Path) -> None:
    python = make_interpreter(tmp_path / "python", phase_s=0, shared_memory=SEGMENT)
    server = ServerConfig(python=str(python), port=find_port(), drain_timeout_s=1, ready_timeout_s=60)
    config = ServeConfig(model=ModelConfig(name="some/model"), server=server)
    installation = find_installation(str(python))
    names = [cycle(config, installation, number) for number in range(NUM_BEFORE)]
    before = in_use(names)

    names += [cycle(config, installation, number) for number in range(NUM_BEFORE, NUM_CYCLES)]

    with suppress(AssertionError):  # threads end when they come to it
        wait_for(lambda: not more_than(before, names))
    assert more_than(before, names) == {}


def cycle(config: ServeConfig, installation: Installation, number: int) -> str:
    """Start a server and stop it: at once, while it loads, when it is ready, or after it was killed."""
    folder = RunFolder.create("outputs")
    with start_server(config, folder=folder, installation=installation, stop_limits=QUICK) as server:
        kind = ("at once", "loading", "ready", "killed")[number % 4]
        if kind == "loading":
            wait_for(lambda: folder.server_log.stat().st_size > 0)
        elif kind == "ready":
            server.wait_ready()
        elif kind == "killed":
            os.kill(server.pid, signal.SIGKILL)
            with suppress(ServerDied):
                server.wait_ready()
    return folder.name


def more_than(before: dict[str, int], names: list[str]) -> dict[str, tuple[int, int]]:
    """Return what more is in use of than was `before`; less is no loss, since a thread may have ended late."""
    return {thing: (before[thing], now) for thing, now in in_use(names).items() if now > before[thing]}


def in_use(names: list[str]) -> dict[str, int]:
    """Return how many of each thing the servers of these runs, or this process, hold."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": len(psutil.Process().children(recursive=True)),
        "temporary folders": sum(path.name.startswith(tuple(names)) for path in private_tmp().iterdir()),
        "segments": int(Path("/dev/shm", SEGMENT).exists()),
    }
