"""The guardian: a small process between the launcher and vLLM, which sees to it that nothing of vLLM is left.

It adopts every orphan of its server, and ends them all when the server's leader has ended, when the launcher asks,
and when the launcher is gone, by whatever death: their pipe tells. vLLM itself does none of this: its engine lives on,
holding GPUs, after its front end or its launcher is killed (https://github.com/vllm-project/vllm/issues/55510).

A program of its own: `python -I -S guardian.py`; standard library only, one thread, little imported.
In, a line of JSON each: first the `Task`, then {"do": "ready" | "stop" | "kill"}. Out, a line of JSON each:
{"leader": [pid, start_ticks]}, {"exited": status}, and as the last one {"left": [[pid, start_ticks]], "was_killed": …},
which the launcher answers with {"do": "leave"}: without it, the launcher died and did not write how the run ended.
A warm engine forks guardians, which say and do the same; only their leader becomes vLLM without an exec.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from mixvllm.server.leader import LIBC, execute, start_leader
from mixvllm.server.leftovers import remove_folder, remove_shared_memory, shared_memory_of
from mixvllm.server.lines import Lines
from mixvllm.server.processes import Killer, ProcessTree, identify, is_resource_tracker, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mixvllm.server.task import Task

_PR_SET_CHILD_SUBREAPER = 36
_TICK_S = 0.05
_LOOK_S = 0.25  # looking at all processes of a machine takes a few milliseconds


class Guardian:
    """Starts one server and ends it.

    Args:
        task: what to do.
        commands: descriptor that commands come from.
        reports: descriptor that reports go to.
        run: what the leader does once it is one, see `execute`.
    """

    def __init__(self, task: Task, commands: Lines, reports: int, run: Callable[[Task], None]) -> None:
        self._task = task
        self._commands = commands
        self._reports = reports
        self._is_ready = False
        self._is_stopping = False
        self._is_forced = False
        self._is_alone = False
        self._may_leave = False
        self._status: int | None = None
        self._shared_memory: set[str] = set()
        self._wakeup = _wake_on_signals(self._note_signal)
        LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        own = identify(os.getpid())
        os.mkdir(task["tmp_dir"], 0o700)
        self._leader = start_leader(task, run)
        self._tree = ProcessTree(self._leader, guardian=own)
        self._tell(leader=list(self._leader))

    def run(self) -> None:
        """Watch the server until it has ended or is to end; then leave nothing of it."""
        while self._status is None and not self._is_stopping:
            self._step(None)
        was_asked = self._is_stopping
        if self._status is None:
            self._drain()
        was_killed = self._clear()
        self._tell(left=[list(process) for process in self._tree.refresh()], was_killed=was_killed)
        while not (self._may_leave or self._is_alone):
            self._step(None)
        if not self._may_leave:
            self._record(was_asked)

    def _drain(self) -> None:
        """Tell the leader alone: a worker that gets SIGTERM itself breaks the drain."""
        self._note_shared_memory()  # vLLM kills an engine that is slow to end, and then leaves its segments
        limits = self._task["limits"]
        # Before it serves, vLLM ignores SIGTERM.
        send_signal(self._leader, signal.SIGTERM if self._is_ready else signal.SIGINT)
        if not self._is_ready:
            self._step_until(time.monotonic() + limits["start_up_s"])
            return
        drained = time.monotonic() + limits["drain_s"]
        self._step_until(drained)
        self._await_end(drained + limits["after_drain_s"])

    def _step_until(self, deadline: float) -> None:
        while self._status is None and not self._is_forced and (left_s := deadline - time.monotonic()) > 0:
            self._step(left_s)

    def _await_end(self, deadline: float) -> None:
        """Wait for the leader to end after the drain; not for long once its engine has ended.

        vLLM then waits for connections whose answers nobody produces any more.
        """
        engine_seen = time.monotonic()
        while self._status is None and not self._is_forced and (now := time.monotonic()) < deadline:
            if any(process != self._leader and not is_resource_tracker(process) for process in self._tree.refresh()):
                engine_seen = now
            elif now - engine_seen > self._task["limits"]["alone_s"]:
                return
            self._step(_LOOK_S)

    def _clear(self) -> bool:
        """End what is left; return whether anything had to be killed."""
        self._note_shared_memory()
        ended_by_itself = self._status is not None and self._status >= 0
        deadline = time.monotonic() + (self._task["limits"]["leftovers_s"] if ended_by_itself else 0)
        while (left := self._tree.refresh()) and not self._is_forced and time.monotonic() < deadline:
            self._step(_TICK_S)
        was_killed = bool(left)
        deadline, killer = time.monotonic() + self._task["limits"]["kill_s"], Killer()
        while (left := self._tree.refresh()) and time.monotonic() < deadline:
            self._note_shared_memory()
            killer.kill(left)
            self._step(_TICK_S)
        self._step(0)
        remove_shared_memory(self._shared_memory)
        remove_folder(self._task["tmp_dir"])
        return was_killed

    def _note_shared_memory(self) -> None:
        self._shared_memory |= shared_memory_of(process.pid for process in self._tree.refresh())

    def _step(self, timeout_s: float | None) -> None:
        """Wait for a command, a signal or a child's end, and take note of all that came."""
        sources = [self._wakeup] if self._is_alone else [self._wakeup, self._commands.descriptor]
        readable, _, _ = select.select(sources, [], [], timeout_s)
        if self._wakeup in readable:
            os.read(self._wakeup, 4096)
        if self._commands.descriptor in readable:
            self._take_commands()
        self._reap()

    def _take_commands(self) -> None:
        lines = self._commands.read()
        if lines is None:
            self._is_alone = self._is_stopping = True
            return
        for line in lines:
            command = json.loads(line)["do"]
            self._is_ready |= command == "ready"
            self._is_stopping |= command in ("stop", "kill")
            self._is_forced |= command == "kill"
            self._may_leave |= command == "leave"
            if command == "ready":
                self._note_shared_memory()

    def _reap(self) -> None:
        """Wait for every child that has ended; orphans that were adopted are children too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._leader.pid:
                self._status = os.waitstatus_to_exitcode(status)
                self._tell(exited=self._status)

    def _note_signal(self, number: int) -> None:
        self._is_forced |= self._is_stopping and number != signal.SIGCHLD
        self._is_stopping |= number != signal.SIGCHLD

    def _tell(self, **report: Any) -> None:
        try:
            os.write(self._reports, json.dumps(report).encode() + b"\n")
        except OSError:
            self._is_alone = self._is_stopping = True

    def _record(self, was_asked: bool) -> None:
        """Write how the run ended, since the launcher cannot any more."""
        from pathlib import Path

        from mixvllm.runs.folder import RunFolder
        from mixvllm.runs.journal import record_end
        from mixvllm.runs.scrub import LogScrubber

        what = "the launcher was killed" if was_asked else "the server ended by itself after the launcher was killed"
        record_end(RunFolder(Path(self._task["run"])), f"{what}; its guardian stopped the server", self._status)
        LogScrubber(Path(self._task["log"]), self._task["secrets"]).scrub(until_end=True)


def _wake_on_signals(note: Any) -> int:
    """Have `note` called with each signal that matters; return a descriptor that is readable after one."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: note(number))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    return reader


def main(run: Callable[[Task], None] = execute) -> None:
    """Take the task from stdin and do it; `run` is what the leader does once it is one."""
    commands = Lines(0)
    lines: list[bytes] | None = []
    while not lines:
        lines = commands.read()
        if lines is None:
            return  # the launcher died before it said what to do
    Guardian(json.loads(lines[0]), commands, 1, run).run()


if __name__ == "__main__":
    main()
