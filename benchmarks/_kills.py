"""One run, and the kill of a part of it at a moment of a phase: what `benchmarks.chaos` does again and again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil

from mixvllm.errors import PortInUse
from mixvllm.machine.folders import private_tmp
from mixvllm.machine.ports import lease_port
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED
from mixvllm.runs.records import read_json
from tests.faults.nothing_left import Witness
from tests.launches import Launch

VICTIMS = ("launcher", "guardian", "front end", "engine", "worker")
PHASES = ("spawn", "loading", "ready", "under load", "draining")
EARLY = ("launcher", "guardian", "front end")
"""Victims that are there while the server is spawned."""

_EMPTY_S = 60.0  # what is still there then is left
_TICK_S = 0.01


@dataclass(frozen=True)
class Pace:
    """How long the phases of a server take, in seconds, so that a kill falls into the one that was drawn.

    Args:
        loading_s: from the first line of the log to the last phase.
        serving_s: that it serves before it is killed, at the most.
        request_s: of a request under load.
        draining_s: of a stop, with requests that have to finish.
        start_s: that a start may take.
    """

    loading_s: float
    serving_s: float
    request_s: float
    draining_s: float
    start_s: float


FAKE = Pace(loading_s=0.4, serving_s=0.3, request_s=0.6, draining_s=0.4, start_s=30)
REAL = Pace(loading_s=25, serving_s=2, request_s=5, draining_s=3, start_s=300)


@dataclass(frozen=True)
class Kill:
    """What is done to one run.

    Args:
        number: counted from 1.
        victim: one of `VICTIMS`.
        phase: one of `PHASES`.
        moment: of the phase, 0 to 1.
        is_real: whether the installed vLLM serves.
    """

    number: int
    victim: str
    phase: str
    moment: float
    is_real: bool


@dataclass(frozen=True)
class Aftermath:
    """What came of a kill.

    Args:
        kill: what was done.
        empty_s: from the kill until nothing was left.
        state: that was recorded, with its cause; `nothing was started` where the launcher died before it had begun.
        left: what was still there at the end of the patience, or is wrong with the record, shape (n,).
    """

    kill: Kill
    empty_s: float
    state: str
    left: tuple[str, ...]


class TooLate(Exception):
    """The run had ended, or the phase was over, before the victim was there."""


class Run:
    """One run, seen from outside.

    Args:
        launch: its launcher.
        pids_file: where a fake writes every process of its own.
        pace: of its server.
    """

    def __init__(self, launch: Launch, pids_file: Path, pace: Pace) -> None:
        self._launch = launch
        self._pids_file = pids_file
        self._pace = pace
        self._requests: list[Thread] = []
        self._witness: Witness | None = None

    def kill(self, kill: Kill) -> Aftermath:
        """Wait for the moment of `kill`, do it, and wait until nothing is left.

        Raises:
            TooLate: the victim is not there at that moment.
        """
        self._wait_phase(kill)
        victim = self._wait_victim(kill)
        self._note()
        try:
            victim.kill()
        except psutil.NoSuchProcess as error:
            raise TooLate from error
        began = time.monotonic()
        left = self._wait_empty(began + _EMPTY_S)
        empty_s = time.monotonic() - began
        state, faults = self._record()
        return Aftermath(kill, empty_s, state, (*left, *faults))

    def end(self) -> None:
        """End what may still run."""
        self._note()
        self._launch.end()
        for process in self._witness.processes if self._witness else ():
            with suppress(psutil.Error):
                if process.pid != os.getpid():
                    psutil.Process(process.pid).kill()
        for request in self._requests:
            request.join()

    def _wait_phase(self, kill: Kill) -> None:
        """Return at the moment of the phase."""
        if kill.phase == "spawn":
            return
        if kill.phase == "loading":
            self._wait(lambda: "phase" in self._events())
            time.sleep(kill.moment * self._pace.loading_s)
            return
        self._wait(lambda: "ready" in self._events())
        if kill.phase in ("under load", "draining"):
            self._ask(3)
        if kill.phase == "draining":
            self._launch.process.send_signal(signal.SIGTERM)
            self._wait(lambda: "draining" in self._events())
        time.sleep(kill.moment * {"draining": self._pace.draining_s}.get(kill.phase, self._pace.serving_s))

    def _wait_victim(self, kill: Kill) -> psutil.Process:
        """Return the process that is to be killed, once it is there; in the phase `spawn` a moment later."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            with suppress(psutil.Error):
                found.extend(self._find(kill.victim))
            return bool(found)

        self._wait(is_there)
        if kill.phase == "spawn":
            time.sleep(kill.moment * (0.6 if kill.victim == "launcher" else 0.1))
        return found[0]

    def _find(self, victim: str) -> Iterator[psutil.Process]:
        launcher = psutil.Process(self._launch.process.pid)
        if victim == "launcher":
            yield launcher
            return
        guardians = [child for child in launcher.children() if "guardian.py" in " ".join(child.cmdline())]
        if victim == "guardian":
            yield from guardians
            return
        leaders = [leader for guardian in guardians for leader in guardian.children()]
        if victim == "front end":
            yield from leaders
            return
        title = {"engine": "EngineCore", "worker": "Worker"}[victim]
        below = [process for leader in leaders for process in leader.children(recursive=True)]
        yield from (process for process in below if title in " ".join(process.cmdline()))

    def _ask(self, count: int) -> None:
        """Have clients ask for long answers, and return when one of them has begun."""
        url = self._events()["ready"]["url"]
        model = self._events()["spawned"]["model"]
        begun: list[bool] = []

        def stream() -> None:
            body = {"model": model, "prompt": "x", "max_tokens": 20 if self._pace is FAKE else 400, "stream": True}
            with suppress(httpx.HTTPError):
                options: dict[str, Any] = {"json": body, "timeout": 60, "trust_env": False}
                with httpx.stream("POST", f"{url}/v1/completions", **options) as answer:
                    for _ in answer.iter_lines():
                        begun.append(True)

        self._requests = [Thread(target=stream) for _ in range(count)]
        for request in self._requests:
            request.start()
        self._wait(lambda: begun or not any(request.is_alive() for request in self._requests))

    def _wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + self._pace.start_s
        while not condition():
            if self._launch.process.poll() is not None or time.monotonic() > deadline:
                raise TooLate
            time.sleep(_TICK_S)

    def _wait_empty(self, deadline: float) -> list[str]:
        """Return what is left at the end: of the run, and the launcher itself where it does not end."""
        while left := self._left():
            if time.monotonic() > deadline:
                return left
            time.sleep(_TICK_S)
        return []

    def _left(self) -> list[str]:
        launcher = [] if self._launch.process.poll() is not None else [f"launcher {self._launch.process.pid}"]
        return [*launcher, *(self._witness.left() if self._note() and self._witness else [])]

    def _note(self) -> bool:
        """Note what the run uses; return whether it has a folder yet."""
        folder = self._launch.run_folder()
        if self._witness is None and folder.name != "outputs":
            self._witness = Witness(RunFolder(folder), self._pids_file)
        if self._witness is not None:
            self._witness.note()
        return self._witness is not None

    def _events(self) -> dict[str, dict[str, Any]]:
        return {event["event"]: event for event in self._witness.events()} if self._note() and self._witness else {}

    def _record(self) -> tuple[str, list[str]]:
        """Return how the run ended as it is recorded, and what is wrong with that."""
        if self._witness is None or not self._witness.folder.events.exists():
            begun = [str(path) for path in private_tmp().glob(f"{self._launch.run_folder().name}-*")]
            return "nothing was started", begun
        status = read_json(self._witness.folder.status) or {}
        state, cause = str(status.get("state")), status.get("cause")
        faults = [] if state in ENDED else [f"recorded as {state}"]
        faults += ["a failure without a cause"] if state == "failed" and not cause else []
        port = int(self._events()["spawned"]["port"]) if "spawned" in self._events() else None
        return f"{state}: {cause}" if cause else state, faults + _port_faults(port)


def _port_faults(port: int | None) -> list[str]:
    if port is None:
        return []
    try:
        lease_port("127.0.0.1", port).release()
    except PortInUse as error:
        return [str(error).partition("\n")[0]]
    return []
