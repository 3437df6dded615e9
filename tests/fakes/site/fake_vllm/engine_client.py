"""The API server's end of the EngineCore: it starts it, asks it for tokens, watches and ends it."""

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from fake_vllm.arguments import ServeArguments
from fake_vllm.engine_core import CRASH, PROMPT_TOKEN, REQUEST_BEGINS, REQUEST_ENDS, TOKEN, EngineCore
from fake_vllm.phases import ScriptedFaultError
from fake_vllm.process_tree import fork_child
from fake_vllm.script import Script

_KILL_GRACE_S = 0.5  # how long the engine may take to end after its drain; 5 s and more in the real one


class EngineDeadError(Exception):
    """The EngineCore has ended."""


class EngineClient:
    """A started EngineCore, as the API server sees it."""

    def __init__(self, script: Script, arguments: ServeArguments, tracker_fd: int, on_end: Callable[[], None]) -> None:
        """Start it; `on_end` is called from another thread when it has ended."""
        self._channel, engine_channel = socket.socketpair()
        engine = EngineCore(script, arguments, engine_channel, tracker_fd)
        self._pid = fork_child(engine.run, script, keep_fds=[engine_channel.fileno(), tracker_fd])
        engine_channel.close()
        self._unread = b""
        self._worker_pids: list[int] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.status: int | None = None
        """Exit status once it has ended; a signal as a negative number."""
        threading.Thread(target=self._wait_end, args=[on_end], daemon=True).start()

    @property
    def has_ended(self) -> bool:
        """Whether the EngineCore has ended."""
        return self._ended.is_set()

    def wait_ready(self) -> None:
        """Wait, without a deadline as the real one does, until the model is loaded.

        Raises:
            ScriptedFaultError: the leader is to die while the EngineCore lives.
            EngineDeadError: the EngineCore ended first.
        """
        # Nothing is read beyond `ready`: the engine sends no more until it is asked.
        for word, *rest in map(str.split, self._read_lines()):
            if word == "ready":
                return
            if word == "fault":
                raise ScriptedFaultError(rest[0])
            self._worker_pids += [int(pid) for pid in rest]
        self._ended.wait()
        raise EngineDeadError

    def begin_request(self, num_prompt_tokens: int) -> None:
        """Count a request in the EngineCore, which drains it before it ends, and give it the prompt."""
        with self._lock:
            self._send(REQUEST_BEGINS + num_prompt_tokens * PROMPT_TOKEN)

    def end_request(self) -> None:
        """Undo `begin_request`."""
        with self._lock:
            self._send(REQUEST_ENDS)

    def make_token(self) -> None:
        """Wait for the EngineCore to make a token: for ever, if it is stopped."""
        with self._lock:
            self._send(TOKEN)
            try:
                answer = self._channel.recv(1)
            except OSError as error:
                raise EngineDeadError from error
        if not answer:
            raise EngineDeadError

    def crash(self) -> None:
        """Make the EngineCore die of a fatal error, and wait until it has."""
        with self._lock:
            self._send(CRASH)
        self._ended.wait()

    def stop(self, drain_timeout_s: float) -> None:
        """End the EngineCore: SIGTERM, time to drain, then SIGKILL to it and its workers."""
        if self.has_ended:
            return
        _send_signal(self._pid, signal.SIGTERM)
        if not self._ended.wait(drain_timeout_s + _KILL_GRACE_S):
            self.kill()

    def kill(self) -> None:
        """Kill what is left of the EngineCore and its workers."""
        if self.has_ended:
            return
        _send_signal(self._pid, signal.SIGKILL)
        self._ended.wait()
        # An interrupt may have come before it was read which workers there are.
        with contextlib.suppress(EngineDeadError, ScriptedFaultError):
            self.wait_ready()
        for pid in self._worker_pids:
            _send_signal(pid, signal.SIGKILL)

    def _read_lines(self) -> Iterator[str]:
        while True:
            # With a limit, because a signal that comes just before a wait does not end it.
            while not select.select([self._channel], [], [], 0.05)[0]:
                pass
            content = self._channel.recv(4096)
            if not content:
                return
            *lines, self._unread = (self._unread + content).split(b"\n")
            yield from (line.decode() for line in lines)

    def _wait_end(self, on_end: Callable[[], None]) -> None:
        self.status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        self._ended.set()
        on_end()

    def _send(self, message: bytes) -> None:
        try:
            self._channel.sendall(message)
        except OSError as error:
            raise EngineDeadError from error


def _send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # whoever waits for its end may be quicker
        os.kill(pid, number)
