"""The program of a worker: runs the tasks it is given, one after the other, in the folder of a sweep.

A process of its own, so that a fault in one harms no other. In, a line of JSON each: a task, and the end of the pipe,
which also tells that the launcher is gone. Out, a line of JSON for each thing that happens; a task ends with
{"event": "task_ended"}.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mixvllm.server.signals import StopSignals
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.sweep.group import GroupRunner, Task
from mixvllm.sweep.meter import Meter
from mixvllm.sweep.slots import Slot
from mixvllm.sweep.sweep_folder import SweepFolder

_CHUNK_BYTES = 1 << 16


def main(path: str) -> None:
    """Run tasks in the sweep at `path` until there are no more, or a stop is asked for."""
    folder = SweepFolder(Path(path))
    reports = _Reports()
    tasks: SimpleQueue[Task | None] = SimpleQueue()
    with (
        StopSignals() as signals,
        Meter(folder.path, signals.is_requested) as meter,
        WarmEngines(should_stop=signals.is_requested) as engines,
    ):
        threading.Thread(target=_read_tasks, args=[tasks], daemon=True).start()
        while (task := tasks.get()) is not None and not signals.is_requested():
            if task.slot.cores:  # the same for all tasks of a worker, and for what they start
                os.sched_setaffinity(0, task.slot.cores)
            GroupRunner(folder, task, meter, engines, signals, reports.tell).run()
            reports.tell({"event": "task_ended", "server_key": task.server_key})


def _read_tasks(tasks: SimpleQueue[Task | None]) -> None:
    """Put each task that comes into `tasks`; at the end of the pipe ask for a stop, and for no more."""
    partial = b""
    # Not sys.stdin: a thread that waits in it would hold its lock when the process ends.
    while chunk := os.read(0, _CHUNK_BYTES):
        *lines, partial = (partial + chunk).split(b"\n")
        for message in map(json.loads, lines):
            if message.get("do") == "end":
                tasks.put(None)
                return
            tasks.put(_task(message))
    os.kill(os.getpid(), signal.SIGTERM)  # the launcher is gone
    tasks.put(None)


def _task(message: dict[str, Any]) -> Task:
    given = message["slot"]
    slot = Slot(given["index"], tuple(given["gpus"]), tuple(given["cores"]))
    repeats = tuple((content_hash, number) for content_hash, number in message["repeats"])
    return Task(message["server_key"], repeats, slot, message["is_warm"])


class _Reports:
    """Tells the launcher; where it is gone, nobody: what is done is in files."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)  # what a library prints must not mix with the reports

    def tell(self, message: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):
            rest = json.dumps(message).encode() + b"\n"
            while rest:
                rest = rest[os.write(self._out, rest) :]
