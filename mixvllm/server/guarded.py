"""A server's leader under its guardian, as the launcher sees it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from mixvllm.errors import ServerDied
from mixvllm.runs.secrets import known_secrets
from mixvllm.server import guardian as guardian_program
from mixvllm.server.leftovers import remove_folder, remove_shared_memory, shared_memory_of
from mixvllm.server.limits import StopLimits
from mixvllm.server.lines import Lines
from mixvllm.server.processes import ProcessId, ProcessTree, identify, is_alive

if TYPE_CHECKING:
    from mixvllm.server.task import Task

_START_LIMIT_S = 30.0  # a fork and an exec, on the busiest machine
_TICK_S = 0.05
_UNKNOWN_STATUS = -9  # of a leader whose guardian was killed with it


class GuardianProcess(Protocol):
    """A started guardian: a `Popen`, or one that a warm engine forked and that is no child of the launcher."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def poll(self) -> int | None:
        """Return None while it lives."""

    def kill(self) -> None:
        """Kill it."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it is gone; raise `subprocess.TimeoutExpired` where it is not."""


def start_guardian(log: Path) -> GuardianProcess:
    """Start a guardian as a program of its own, which prints its errors to `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(guardian_program.__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            start_new_session=True,  # out of reach of the terminal's Ctrl-C
            cwd=Path.cwd(),
            bufsize=0,
        )
    finally:
        os.close(descriptor)


class GuardedProcess:
    """The first process of a server, and the guardian that ends all of them when the launcher is gone.

    Args:
        guardian: started, and told its task; by itself or by a warm engine.
        limits: how long the stages of a stop may take.
        drain_s: seconds that requests in flight get.
        tmp_dir: the server's folder for temporary files.
    """

    def __init__(self, guardian: GuardianProcess, limits: StopLimits, drain_s: float, tmp_dir: Path) -> None:
        self._guardian = guardian
        self._limits = limits
        self._drain_s = drain_s
        self._tmp_dir = tmp_dir
        self._lock = threading.Lock()
        self._reports = None if guardian.stdout is None else Lines(guardian.stdout.fileno())
        self._status: int | None = None
        self._end: dict[str, Any] | None = None
        self._segments: set[str] = set()
        self._leader: ProcessId | None = None
        self.leader = self._await_leader()
        """The server's first process, which leads its session."""
        self.guardian = identify(guardian.pid) or ProcessId(guardian.pid, 0)
        self.tree = ProcessTree(self.leader, guardian=self.guardian)

    @classmethod
    def start(  # noqa: PLR0913 - a task has these parts
        cls,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: Path,
        tmp_dir: Path,
        limits: StopLimits,
        drain_s: float,
        guard: Callable[[Path], GuardianProcess] = start_guardian,
    ) -> Self:
        """Start a guardian, by `guard`, and the server `argv` under it.

        Raises:
            ServerDied: the guardian did not get that far.
        """
        task: Task = {
            "argv": list(argv),
            "environment": {"PATH": os.defpath, **environment},
            "log": str(log),
            "tmp_dir": str(tmp_dir),
            "run": str(log.parent),
            "secrets": sorted(known_secrets(environment)),
            "limits": {**asdict(limits), "drain_s": drain_s},
        }
        guardian = guard(log)
        _send(guardian, task)
        return cls(guardian, limits, drain_s, tmp_dir)

    @property
    def start_kind(self) -> str:
        """How it was started: `cold`, or `warm` by a warm engine."""
        return "cold" if isinstance(self._guardian, subprocess.Popen) else "warm"

    @property
    def was_killed(self) -> bool:
        """Whether anything of the server had to be killed; known once it has ended."""
        return self._end is None or bool(self._end["was_killed"])

    def record(self) -> dict[str, Any]:
        """Return who watches whom, and how it was started, as the records have it."""
        own = identify(os.getpid())
        watchers = {"supervisor": own, "guardian": self.guardian, "leader": self.leader}
        return {"start": self.start_kind, **{role: process._asdict() for role, process in watchers.items() if process}}

    def poll(self) -> int | None:
        """Return the leader's exit status (negative: the signal that ended it), or None while it lives."""
        self._take_reports()
        if self._status is None and self._guardian.poll() is not None and not is_alive(self.leader):
            self._status = _UNKNOWN_STATUS
        return self._status

    def is_guarded(self) -> bool:
        """Whether the guardian lives, or has done all its work."""
        self._take_reports()
        return self._guardian.poll() is None or self._end is not None

    def tell_ready(self) -> None:
        """Tell the guardian that the server serves, so that a stop lets requests finish."""
        _send(self._guardian, {"do": "ready"})
        self._note_shared_memory()

    def stop(self, is_forced: Callable[[], bool]) -> list[ProcessId]:
        """Stop the leader, then whatever is left of it; return the processes that would not go.

        Args:
            is_forced: asked while waiting; True kills at once.
        """
        _send(self._guardian, {"do": "stop"})
        limits = self._limits
        longest_s = self._drain_s + limits.after_drain_s + limits.start_up_s + limits.leftovers_s + limits.kill_s
        deadline = time.monotonic() + longest_s
        was_forced = False
        while self._end is None and self._guardian.poll() is None and time.monotonic() < deadline:
            if not was_forced and is_forced():
                was_forced = True
                _send(self._guardian, {"do": "kill"})
            self._take_reports(_TICK_S)
        self._take_reports()
        left = self._clear_alone() if self._end is None else [ProcessId(*each) for each in self._end["left"]]
        self._let_go()
        return left

    def kill(self) -> None:
        """End everything at once."""
        self.stop(lambda: True)

    def _clear_alone(self) -> list[ProcessId]:
        """Do the guardian's work where it was killed; the kernel has told the leader to end."""
        with suppress(ProcessLookupError):
            self._guardian.kill()
        self._guardian.wait()
        self._note_shared_memory()
        left = self.tree.kill(self._limits.kill_s)
        remove_shared_memory(self._segments)
        remove_folder(str(self._tmp_dir))
        return left

    def _note_shared_memory(self) -> None:
        self._segments |= shared_memory_of(process.pid for process in self.tree.refresh())

    def _let_go(self) -> None:
        _send(self._guardian, {"do": "leave"})
        for pipe in (self._guardian.stdin, self._guardian.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._guardian.wait(self._limits.kill_s)

    def _await_leader(self) -> ProcessId:
        deadline = time.monotonic() + _START_LIMIT_S
        while self._leader is None and self._guardian.poll() is None and time.monotonic() < deadline:
            self._take_reports(_TICK_S)
        if self._leader is None:
            self._guardian.kill()
            self._let_go()
            remove_folder(str(self._tmp_dir))
            what = "the guardian ended before it had started the server; the end of server.log may tell why"
            raise ServerDied(what, kind="transient", failure={"id": "guardian-killed", "cause": what})
        return self._leader

    def _take_reports(self, timeout_s: float = 0.0) -> None:
        """Take what the guardian has said, waiting `timeout_s` for something."""
        pipe = self._guardian.stdout
        if pipe is None or pipe.closed or self._reports is None:
            return
        with self._lock:
            while select.select([pipe], [], [], timeout_s)[0] and (lines := self._reports.read()) is not None:
                timeout_s = 0.0
                for line in lines:
                    self._take(json.loads(line))

    def _take(self, report: dict[str, Any]) -> None:
        if "leader" in report:
            self._leader = ProcessId(*report["leader"])
        elif "exited" in report:
            self._status = report["exited"]
        else:
            self._end = report


def _send(guardian: GuardianProcess, message: object) -> None:
    """Send a line; a guardian that is gone is noticed by whoever waits for its answer."""
    pipe: IO[bytes] | None = guardian.stdin
    rest = json.dumps(message).encode() + b"\n"
    with suppress(OSError, ValueError):
        while pipe and rest:
            rest = rest[pipe.write(rest) :]
