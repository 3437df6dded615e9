"""Servers of the fake vLLM, all ended when a test is over."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ModelConfig, ServeConfig, Server, ServerConfig, start_server
from mixvllm.config.schema import RuntimeConfig
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event
from mixvllm.server.limits import STOP_LIMITS, StopLimits
from mixvllm.server.processes import identify, send_signal
from tests.fakes.interpreter import make_interpreter

QUICK = StopLimits(start_up_s=1.0, after_drain_s=1.0, leftovers_s=0.5, port_s=2.0)


@dataclass
class Started:
    """A server of the fake, and what can be seen of it from outside."""

    server: Server
    folder: RunFolder
    events: list[Event]
    pids_file: Path

    @property
    def pids(self) -> dict[str, int]:
        """Every process that the fake started, by title."""
        lines = self.pids_file.read_text().splitlines() if self.pids_file.exists() else []
        return {title: int(pid) for title, _, pid in (line.rpartition(" ") for line in lines)}

    def living(self) -> set[str]:
        """Titles of those that still run."""
        return {title for title, pid in self.pids.items() if is_alive(pid)}

    def status(self) -> dict[str, Any]:
        """The content of status.json."""
        status: dict[str, Any] = json.loads(self.folder.status.read_text())
        return status


def is_alive(pid: int) -> bool:
    """Whether the process `pid` runs (a zombie does not)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


Start = Callable[..., Started]


Place = Callable[..., dict[str, Any]]


@pytest.fixture
def place() -> Place:
    """Return a function that makes an interpreter with the fake in a folder, and the sections that name it."""

    def make(folder: Path, **script: Any) -> dict[str, Any]:
        return {"server": {"python": str(make_interpreter(folder, **script))}}

    return make


@pytest.fixture
def start(tmp_path: Path, place: Place) -> Iterator[Start]:
    """Return a function that starts a server of the fake: `server` are keys of the section, the rest of the script.

    It has little time to stop; where it `is_patient`, so much that not even a busy machine kills it.
    """
    started: list[Started] = []

    def start_one(
        server: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
        observer: Callable[[Event], None] = lambda _event: None,
        *,
        is_patient: bool = False,
        **script: Any,
    ) -> Started:
        number = len(started)
        pids_file = tmp_path / f"pids-{number}"
        script = {"phase_s": 0.005, "pids_file": str(pids_file), **script}
        sections = place(tmp_path / f"python-{number}", **script)
        own = {"drain_timeout_s": 2, "ready_timeout_s": 60, **sections.get("server", {}), **(server or {})}
        config = ServeConfig(
            model=ModelConfig(**{"name": "some/model", **(model or {})}),
            server=ServerConfig(**own),
            runtime=RuntimeConfig(**sections.get("runtime", {})),
        )
        folder, events = RunFolder.create(tmp_path / "outputs"), []
        limits = STOP_LIMITS if is_patient else QUICK
        running = start_server(config, folder=folder, observers=[events.append, observer], stop_limits=limits)
        started.append(Started(running, folder, events, pids_file))
        return started[-1]

    yield start_one
    for one in started:
        identities = [identity for pid in one.pids.values() if (identity := identify(pid))]
        one.server.stop(is_forced=lambda: True)
        for identity in identities:
            send_signal(identity, signal.SIGKILL)
