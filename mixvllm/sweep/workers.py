"""The worker processes of a sweep, as its launcher sees them."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import IO, Any, Self

from mixvllm.machine.program import module_argv
from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import RunState, look_at
from mixvllm.sweep.slots import Slot
from mixvllm.sweep.sweep_folder import SweepFolder

_TICK_S = 0.2


@dataclass(eq=False)
class Worker:
    """One worker process.

    Args:
        process: started, with pipes.
        slot: of its last task. What it keeps from one task to the next stays on the cores of that.
    """

    process: subprocess.Popen[bytes]
    slot: Slot
    is_free: bool = True
    partial: bytes = b""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; one that has ended takes none, and is found to have ended when it is listened to."""
        rest = json.dumps(message).encode() + b"\n"
        with suppress(OSError):
            while rest:
                rest = rest[_pipe(self.process.stdin).write(rest) or 0 :]

    def ask_to_stop(self) -> None:
        """Ask it to stop what it does; asked again, at once."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


class Workers:
    """Starts workers, and hears from them. A context manager: leaving it lets all of them go.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.ask_to_stop()
        self._dismiss()

    def give(self, server_key: str, repeats: object, slot: Slot, *, is_warm: bool = False) -> Worker:
        """Have a worker measure `repeats` in `slot`; one is started where none is free."""
        fitting = [worker for worker in self._workers if worker.is_free and worker.slot.cores == slot.cores]
        # Its warm engines have seen the GPUs of its last slot.
        worker = max(fitting, key=lambda one: one.slot.gpus == slot.gpus, default=None) or self._hire(slot)
        worker.is_free, worker.slot = False, slot
        worker.send({"server_key": server_key, "repeats": repeats, "slot": asdict(slot), "is_warm": is_warm})
        return worker

    def ask_to_stop(self) -> None:
        """Ask all of them to stop what they do."""
        for worker in self._workers:
            worker.ask_to_stop()

    def kill(self) -> None:
        """Kill all of them; their servers have guardians, who end them."""
        for worker in self._workers:
            worker.process.kill()

    def hear(self) -> Iterator[tuple[Worker, dict[str, Any] | None]]:
        """Wait a moment, and yield what workers told; None where one has ended."""
        for key, _ in self._selector.select(_TICK_S):
            worker: Worker = key.data
            chunk = os.read(_pipe(worker.process.stdout).fileno(), 1 << 16)
            *lines, worker.partial = (worker.partial + chunk).split(b"\n")
            for line in lines:
                yield worker, json.loads(line)
            if not chunk:
                self._selector.unregister(_pipe(worker.process.stdout))
                worker.process.wait()
                self._workers.remove(worker)
                _close(worker)
                yield worker, None

    def _dismiss(self) -> None:
        """Let all of them go, and wait until they are gone."""
        for worker in self._workers:
            worker.send({"do": "end"})
        for worker in self._workers:
            worker.process.wait()
            _close(worker)
        self._workers.clear()
        self._selector.close()

    def _hire(self, slot: Slot) -> Worker:
        descriptor = os.open(self._folder.workers_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            process = subprocess.Popen(
                module_argv("mixvllm.sweep.worker", str(self._folder.path)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=descriptor,
                start_new_session=True,  # Ctrl-C reaches it through this process alone
                bufsize=0,
            )
        finally:
            os.close(descriptor)
        worker = Worker(process, slot)
        self._workers.append(worker)
        self._selector.register(_pipe(process.stdout), selectors.EVENT_READ, worker)
        return worker


def await_earlier(folder: SweepFolder, say: Callable[[str], None]) -> None:
    """Return when no worker, and no server, of an earlier launcher of the sweep that was killed is left.

    The caller holds the sweep.
    """
    is_told = False
    while _are_held(folder.workers_log) or any(map(_lives, runs_of(folder))):
        if not is_told:
            say("waiting until what the launcher before this one has left of the sweep has stopped")
            is_told = True
        sleep(_TICK_S)


def runs_of(folder: SweepFolder, server_key: str = "*") -> list[RunState]:
    """Return the states of the servers of the sweep, or of those of one key."""
    return [look_at(RunFolder(path)) for path in folder.servers.glob(f"{server_key}/*/*")]


def _lives(run: RunState) -> bool:
    """Whether its guardian still stops it; one without a record was not started, since nobody is left to start it."""
    return bool(run.record) and not run.has_ended and not run.is_remote


def are_gone(folder: SweepFolder, server_key: str) -> bool:
    """Whether no server of `server_key` runs, whose worker was killed."""
    return not any(map(_lives, runs_of(folder, server_key)))


def _are_held(log: Path) -> bool:
    """Whether a worker lives that prints to `log`."""
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("a worker is started with pipes")
    return pipe


def _close(worker: Worker) -> None:
    for pipe in (worker.process.stdin, worker.process.stdout):
        with suppress(OSError):
            _pipe(pipe).close()
