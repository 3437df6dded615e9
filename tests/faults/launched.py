"""A launcher in a process of its own with the fake vLLM behind it, as a test of faults sees it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED
from tests.faults.nothing_left import Witness, pids_by_title
from tests.launches import Launch
from tests.written_runs import wait_for


class Launched:
    """A started launcher, of the fake or of a real vLLM.

    Args:
        launch: of the fixture `run` or `launch_demo`.
        pids_file: where the fake writes every process of its own; None for a real one.
        outputs: the folder that its run folder is made in.
    """

    def __init__(self, launch: Launch, pids_file: Path | None, outputs: Path) -> None:
        self.launch = launch
        self._pids_file = pids_file
        self._outputs = outputs

    @cached_property
    def witness(self) -> Witness:
        """Of what the run uses; asked when its folder is there."""
        self.launch.wait_for(lambda: list(self._outputs.glob("*/*")))
        return Witness(RunFolder(next(self._outputs.glob("*/*"))), self._pids_file)

    @property
    def has_ended(self) -> bool:
        """Whether the launcher has."""
        return self.launch.process.poll() is not None

    @property
    def folder(self) -> RunFolder:
        return self.witness.folder

    @property
    def names(self) -> list[str]:
        """The names of the events so far."""
        return [event["event"] for event in self.witness.events()]

    def status(self) -> dict[str, Any]:
        """Return the content of status.json; nothing before it is written."""
        with suppress(FileNotFoundError):
            status: dict[str, Any] = json.loads(self.folder.status.read_text())
            return status
        return {}

    def wait_ready(self) -> str:
        """Wait until the run serves; return its URL."""
        self.wait_state("ready")
        return str(self.status()["url"])

    def wait_state(self, state: str, phase: str | None = None) -> None:
        """Wait until status.json has `state`, in `phase`."""
        self.launch.wait_for(lambda: self._is_in(state, phase) or self.status().get("state") in ENDED)
        assert self._is_in(state, phase), self.launch.stderr

    def _is_in(self, state: str, phase: str | None) -> bool:
        status = self.status()
        return status.get("state") == state and phase in (None, status["phase"])

    def pid(self, title: str) -> int:
        """Return the number of the newest process of the fake with this title, once there is one."""
        assert self._pids_file is not None
        pids_file = self._pids_file
        wait_for(lambda: title in pids_by_title(pids_file))
        return pids_by_title(pids_file)[title]

    def role(self, role: str) -> int:
        """Return the number of the `supervisor` (the launcher), the `guardian` or the `leader`."""
        return int(self.status()[role]["pid"])

    def kill(self, *pids: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to processes of the run, after a note of all of them; the first may take others with it."""
        self.launch.note_processes()
        self.witness.note()
        os.kill(pids[0], number)
        for pid in pids[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


LaunchFake = Callable[..., Launched]
"""Launches the fake; see the fixture `launch_fake`."""
