"""One warm engine, as the launcher sees it: a process that has imported vLLM, behind a socket."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from mixvllm.errors import Interrupted
from mixvllm.server.processes import ProcessId
from mixvllm.server.warm.forked import ForkedGuardian
from mixvllm.vllm.installation import Installation

_PROGRAM = Path(__file__).with_name("engine.py")
_PRELOAD_LIMIT_S = 300.0  # imports from a cold network file system
_FORK_LIMIT_S = 30.0
_END_LIMIT_S = 5.0
_POLL_S = 0.1


class Refused(Exception):
    """An interpreter cannot be a warm engine."""


class WarmEngine:
    """An interpreter that has imported vLLM, and forks guardians with their servers.

    Args:
        key: what its servers have in common, see `warm_key`.
        process: that has imported.
        control: the launcher's end of its socket.
        preload_s: seconds that importing took.
    """

    def __init__(self, key: str, process: subprocess.Popen[bytes], control: socket.socket, preload_s: float) -> None:
        self.key = key
        self.preload_s = preload_s
        self._process = process
        self._control = control
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def memory_bytes(self) -> int:
        """Its share of the memory that it and its servers hold, as the kernel divides it; 0 where it is gone."""
        try:
            lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)

    def is_alive(self) -> bool:
        """Whether it can fork still."""
        return self._process.poll() is None and self._control.fileno() >= 0

    def fork_guardian(self, log: Path) -> ForkedGuardian:
        """Return a new guardian, which prints its errors to `log` and waits for its task.

        Raises:
            ConnectionError: the warm engine is gone.
        """
        (commands, own_commands), (own_reports, reports) = os.pipe(), os.pipe()
        theirs = [commands, reports, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)]
        try:
            with self._lock:
                guardian = self._ask({"cwd": str(Path.cwd())}, theirs)["guardian"]
        except BaseException:
            os.close(own_commands)
            os.close(own_reports)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        return ForkedGuardian(ProcessId(*guardian), own_commands, own_reports)

    def close(self) -> None:
        """End it; its servers stay, with their guardians. May be called again."""
        self._control.close()
        _end(self._process)

    def _ask(self, message: object, descriptors: list[int]) -> dict[str, Any]:
        try:
            socket.send_fds(self._control, [_line(message)], descriptors)
            return _receive(self._control, time.monotonic() + _FORK_LIMIT_S)
        except OSError as error:
            self.close()
            raise ConnectionError(f"the warm engine {self.pid} is gone: {error}") from error


def start_engine(
    key: str,
    installation: Installation,
    environment: Mapping[str, str],
    log: IO[bytes],
    should_stop: Callable[[], bool],
) -> WarmEngine:
    """Start a warm engine with this very environment; return it when it has imported all.

    Raises:
        Refused: the interpreter cannot be one.
        Interrupted: `should_stop` said so.
    """
    control, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [installation.python, str(_PROGRAM)],
                env=environment,
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
        except OSError as error:
            control.close()
            raise Refused(str(error)) from error
    try:
        control.sendall(_line(environment))
        answer = _receive(control, time.monotonic() + _PRELOAD_LIMIT_S, should_stop)
        if "cannot" in answer:
            raise Refused(answer["cannot"])
        return WarmEngine(key, process, control, answer["ready_s"])
    except BaseException as error:
        control.close()
        _end(process)
        if not isinstance(error, OSError):
            raise
        log.seek(0)
        last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise Refused(f"{installation.python} could not preload vLLM: {error}; its last line: {last}") from error


def _receive(
    control: socket.socket, deadline: float, should_stop: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Return the next message.

    Raises:
        OSError: the other end is gone, or says nothing until `deadline`.
        Interrupted: `should_stop` said so.
    """
    line = b""
    while not line.endswith(b"\n"):
        if should_stop():
            raise Interrupted("stopped while vLLM was preloaded")
        if time.monotonic() > deadline:
            raise TimeoutError("it does not answer")
        if select.select([control], [], [], _POLL_S)[0]:
            chunk = control.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError("it has ended")
            line += chunk
    message: dict[str, Any] = json.loads(line)
    return message


def _line(message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
