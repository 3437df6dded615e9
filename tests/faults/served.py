"""A service of the fake vLLM inside the test's own process, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from mixvllm import ServeConfig
from mixvllm.errors import ServerFailed
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Journal
from mixvllm.server.limits import StartLimit, StopLimits
from mixvllm.server.service import Service
from mixvllm.server.start import Deployment, prepare, run_facts, take_address
from mixvllm.vllm.installation import find_installation
from tests.faults.nothing_left import Witness, assert_nothing_left, pids_by_title
from tests.written_runs import wait_for

QUICK = StopLimits(start_up_s=1.0, after_drain_s=1.0, leftovers_s=0.5, kill_s=3.0, port_s=2.0)


@dataclass
class Served:
    """A service, its run, and the fake behind it.

    Args:
        events: that were told so far.
        wants_stop: set to have whatever waits give up.
        witness: of what it uses.
    """

    service: Service
    folder: RunFolder
    events: list[Event]
    witness: Witness
    wants_stop: list[bool] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The names of the events so far."""
        return [event.name for event in self.events]

    def pid(self, title: str) -> int:
        """Return the number of the newest process of the fake with this title, once there is one."""
        pids_file = self.witness.pids_file
        assert pids_file is not None
        wait_for(lambda: title in pids_by_title(pids_file))
        return pids_by_title(pids_file)[title]

    @property
    def leader(self) -> int:
        return self.service.server.pid

    @property
    def tracker(self) -> int:
        """The number of Python's resource tracker, which removes shared memory when the others are gone."""
        assert self.witness.pids_file is not None
        return next(pid for title, pid in pids_by_title(self.witness.pids_file).items() if "resource_tracker" in title)

    @property
    def guardian(self) -> int:
        return int(self.status()["guardian"]["pid"])

    def status(self) -> dict[str, Any]:
        """Return the content of status.json."""
        status: dict[str, Any] = json.loads(self.folder.status.read_text())
        return status

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a process of the run, after a note of all of them."""
        self.witness.note()
        os.kill(pid, number)

    def check_until(self, condition: Callable[[], object], timeout_s: float = 60) -> None:
        """Look after the service, as a launcher does, until `condition` is true."""

        def is_true() -> object:
            self.service.check()
            return condition()

        wait_for(is_true, timeout_s)

    def fail(self, kind: type[ServerFailed] = ServerFailed, timeout_s: float = 60) -> ServerFailed:
        """Look after the service until it is given up; return why."""
        with pytest.raises(kind) as caught:
            self.check_until(lambda: False, timeout_s)
        return caught.value

    def check_for(self, duration_s: float) -> None:
        """Look after the service for a while."""
        end = time.monotonic() + duration_s
        self.check_until(lambda: time.monotonic() > end, duration_s + 60)

    def ask(self, prompt: str = "Hello", max_tokens: int = 1, timeout_s: float = 10) -> int:
        """Return the status of one completion."""
        body = {"model": "some/model", "prompt": prompt, "max_tokens": max_tokens}
        url = f"{self.service.server.url}/v1/completions"
        return httpx.post(url, json=body, timeout=timeout_s, trust_env=False).status_code

    def end(self) -> dict[str, Any]:
        """Stop it; return status.json of a run that has left nothing."""
        self.witness.note()
        self.service.stop()
        return assert_nothing_left(self.witness)


Serve = Callable[..., Served]
"""Starts a service of the fake; see the fixture `serve`."""


def start_service(
    config: ServeConfig,
    folder: RunFolder,
    pids_file: Path,
    start_limit: StartLimit | None = None,
    stop_limits: StopLimits = QUICK,
) -> Served:
    """Start a service as a launcher does."""
    installation = find_installation(config.server.python)
    prepare(config, installation, folder, lambda _line: None)
    events: list[Event] = []
    wants_stop: list[bool] = []
    service = Service(
        Deployment(config, installation, start_limit=start_limit),
        folder,
        take_address(config, folder),
        [Journal(folder, run_facts(config)), events.append],
        should_stop=lambda: bool(wants_stop),
        stop_limits=stop_limits,
    )
    return Served(service, folder, events, Witness(folder, pids_file), wants_stop)
