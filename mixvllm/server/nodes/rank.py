"""A task of the step that runs a part of a server on one more node, under a guardian of its own.

Reads from its standard input what to run, then a line from time to time; the end of that, or silence, ends it. A part
that ends by itself is a failure whatever its exit code: vLLM's is 0 also where its engine died.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from mixvllm.errors import MixvllmError
from mixvllm.machine.folders import private_tmp
from mixvllm.machine.nodes import own_address
from mixvllm.machine.ports import FIRST_PORT_VARIABLE, auto_ports
from mixvllm.runs.registry import host_name
from mixvllm.runtime.caches import ENGINE_CACHES
from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.limits import StopLimits
from mixvllm.server.lines import Lines
from mixvllm.server.nodes.leader import wrap
from mixvllm.server.nodes.others import READY, NodeTask, node_environment

_SILENCE_S = 15.0  # many lines that did not come
_TICK_S = 0.2
_TASK_S = 60.0  # for the first line; srun starts tasks before it passes on what it reads
_PORTS_PER_NODE = 10  # nodes that are one machine, as Slurm allows, begin at different ones
_LIMITS = StopLimits(start_up_s=3.0, after_drain_s=3.0)


def main(_: str) -> None:
    """Run the part of this node; end with 0 where that was asked for, else with 1."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # of Slurm, to all of the job; the first node says when this one ends
    try:
        code = _run()
    except (MixvllmError, OSError) as error:
        sys.stdout.write(f"error: node {_rank()} ({host_name()}): {error}\n")
        code = 1
    sys.exit(code)


def _rank() -> int:
    return int(os.environ["SLURM_PROCID"]) + 1  # the first node has no task of this step


def _run() -> int:
    lines = Lines(0)
    first = _first_line(lines)
    if first is None:
        return 1
    task = NodeTask.parse(first)
    address, interface = own_address(task.interface)
    os.environ.pop("TMPDIR", None)
    tmp_dir = private_tmp() / f"node-{os.environ['SLURM_JOB_ID']}-{secrets.token_hex(4)}"
    caches = tmp_dir.with_name(f"{tmp_dir.name}-caches")
    environment = {
        **os.environ,
        **_caches(caches),
        **node_environment(address, interface),
        "TMPDIR": str(tmp_dir),
        FIRST_PORT_VARIABLE: str(auto_ports().start + _rank() * _PORTS_PER_NODE),
    }
    wrapped = wrap(task.wrapper, task.argv_of(_rank(), address), environment)
    engine = GuardedProcess.start(
        wrapped.argv,
        wrapped.environment,
        log=Path(f"/proc/{os.getpid()}/fd/1"),
        tmp_dir=tmp_dir,
        limits=_LIMITS,
        drain_s=task.drain_s,
    )
    try:
        return _watch(engine, lines)
    finally:
        engine.stop(lambda: False)
        shutil.rmtree(caches, ignore_errors=True)


def _caches(folder: Path) -> dict[str, str]:
    """Return folders for those caches that are in one of the first node's own, which is not here."""
    of_job = f"mx{os.getuid()}-"
    values = {name: Path(os.environ.get(name, "")) for name in ENGINE_CACHES}
    return {
        name: str(folder / ENGINE_CACHES[name])
        for name, path in values.items()
        if any(part.startswith(of_job) for part in path.parts)
    }


def _watch(engine: GuardedProcess, lines: Lines) -> int:
    heard = time.monotonic()
    while (status := engine.poll()) is None:
        if select.select([lines.descriptor], [], [], _TICK_S)[0]:
            found = lines.read()
            if found is None:
                return 0
            if READY.encode() in found:
                engine.tell_ready()
            heard = time.monotonic()
        elif time.monotonic() - heard > _SILENCE_S:
            sys.stdout.write(f"mixvllm: node {_rank()} ({host_name()}): nothing comes from the first node any more\n")
            return 1
    sys.stdout.write(f"mixvllm: node {_rank()} ({host_name()}): its engine ended by itself: exit code {status}\n")
    sys.stdout.flush()
    return 1


def _first_line(lines: Lines) -> bytes | None:
    deadline = time.monotonic() + _TASK_S
    while select.select([lines.descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
        found = lines.read()
        if found is None:
            return None
        if found:
            return found[0]
    return None
