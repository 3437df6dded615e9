"""A launch in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

PROGRAM = [sys.executable, "-m", "mixvllm.cli.app", "launch"]


class Launch:
    """The launcher with `arguments`, in `folder`, its output in files there, or in the file descriptor `output`.

    `wrapper` is what it is started by.

    Every process that descends from it and was seen by `note_processes` is ended by `end`.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        deadline_s: float = 120.0,
        output: int | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.deadline_s = deadline_s
        self._seen: set[psutil.Process] = set()
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [*wrapper, *PROGRAM, *arguments],
                cwd=folder,
                stdout=output or stdout,
                stderr=output or stderr,
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def run_folder(self) -> Path:
        return next(self.folder.glob("outputs/*/*"), self.folder / "outputs")

    def record(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.run_folder() / name).read_text())
        return record

    def events(self) -> list[dict[str, Any]]:
        """Return what `events.jsonl` of the run tells."""
        return [json.loads(line) for line in (self.run_folder() / "events.jsonl").read_text().splitlines()]

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` is true, noting every process meanwhile."""
        deadline = time.monotonic() + self.deadline_s
        while not condition():
            self.note_processes()
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.02)
        self.note_processes()

    def wait_ready(self) -> str:
        """Wait until the launcher shows how to use the server; return the server's URL."""
        self.wait_for(lambda: "print(" in self.stdout or self.process.poll() is not None)
        assert self.process.poll() is None, self.stderr
        url: str = self.record("endpoint.json")["url"]
        return url

    def exit_code(self) -> int:
        """Wait until the launcher ends; return its exit code."""
        self.wait_for(lambda: self.process.poll() is not None)
        return self.process.returncode

    def note_processes(self) -> None:
        """Remember the launcher's descendants of this moment."""
        if self.process.poll() is None:
            try:
                self._seen.update(psutil.Process(self.process.pid).children(recursive=True))
            except psutil.NoSuchProcess:
                return

    def living(self) -> list[str]:
        """Return the descendants that still run, for a message."""
        return [str(process) for process in self._seen if _is_running(process)]

    def end(self) -> None:
        """End the launcher and every process it started."""
        self.note_processes()
        self.process.kill()
        self.process.wait()
        for process in self._seen:
            if _is_running(process):
                with suppress(psutil.NoSuchProcess):  # its guardian may be quicker
                    process.kill()


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Run = Callable[..., Launch]
"""Launches the fake vLLM; see the fixture `run`."""
