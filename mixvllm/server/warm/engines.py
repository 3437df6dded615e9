"""Warm engines as the launcher has them: started once for each environment, kept, and ended with it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from mixvllm.errors import Interrupted
from mixvllm.machine.folders import private_tmp
from mixvllm.server.leftovers import remove_folder
from mixvllm.server.processes import ProcessId
from mixvllm.server.warm.forked import ForkedGuardian
from mixvllm.vllm.environment import API_KEY_VARIABLE
from mixvllm.vllm.installation import Installation

MAY_DIFFER = frozenset(
    {
        API_KEY_VARIABLE,
        "TMPDIR",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_ENABLE_V1_MULTIPROCESSING",
        "VLLM_HOST_IP",
        "VLLM_PORT",
    }
)
"""Variables in which servers of one warm engine may differ: nothing reads them while vLLM is imported, and where the
temporary folder was written down is known. Every other one may be read by something, so it has to be the same."""

MAX_ENGINES = 4
"""How many warm engines are kept at once; each holds half a gigabyte and more."""

_PROGRAM = Path(__file__).with_name("engine.py")
_PRELOAD_LIMIT_S = 300.0  # imports from a cold network file system
_FORK_LIMIT_S = 30.0
_END_LIMIT_S = 5.0
_POLL_S = 0.1


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


class WarmEngines:
    """The warm engines of a launcher. A context manager: leaving it ends them, and no server.

    Args:
        say: told, in a line, of work that takes long, and of what is not possible.
        should_stop: asked while waiting.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda _line: None, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self._say = say
        self._should_stop = should_stop
        self._lock = threading.Lock()
        self._engines: dict[str, WarmEngine] = {}
        self._refusals: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def memory_bytes(self) -> int:
        """What they hold together."""
        return sum(engine.memory_bytes for engine in self._engines.values())

    def get(self, installation: Installation, environment: Mapping[str, str]) -> WarmEngine | None:
        """Return the warm engine for servers with `environment`, started where there is none yet.

        Args:
            installation: the vLLM that serves.
            environment: of the servers, whole.

        Returns:
            None where servers have to be started cold; `why_not` tells why.

        Raises:
            Interrupted: `should_stop` said so.
        """
        key = warm_key(installation, environment)
        with self._lock:
            if key in self._refusals:
                return None
            engine = self._engines.pop(key, None)
            if engine is not None and not engine.is_alive():
                engine.close()
                engine = None
            try:
                # The one that was asked for last is the last: the first is given up.
                self._engines[key] = engine or self._start(key, installation, environment)
            except _Refused as refused:
                self._refusals[key] = str(refused)
                self._say(f"servers are started cold: {refused}")
                return None
            while len(self._engines) > MAX_ENGINES:
                self._engines.pop(next(iter(self._engines))).close()
            return self._engines[key]

    def why_not(self, installation: Installation, environment: Mapping[str, str]) -> str | None:
        """Return why `get` gave none, or None where it did, or was not asked."""
        return self._refusals.get(warm_key(installation, environment))

    def close(self) -> None:
        """End them all. May be called again."""
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].close()

    def _start(self, key: str, installation: Installation, environment: Mapping[str, str]) -> WarmEngine:
        self._say(f"preloading vLLM {installation.version} once for the servers to come")
        tmp_dir = private_tmp() / f"warm-{secrets.token_hex(4)}"
        tmp_dir.mkdir(mode=0o700)
        with tempfile.TemporaryFile(dir=tmp_dir) as log:
            try:
                engine = _start_engine(key, installation, _environment(environment, tmp_dir), log, self._should_stop)
            finally:
                remove_folder(str(tmp_dir))
        self._say(f"preloaded in {engine.preload_s:.0f} s, {engine.memory_bytes >> 20} MiB, which its servers share")
        return engine


class _Refused(Exception):
    """An interpreter cannot be a warm engine."""


def warm_key(installation: Installation, environment: Mapping[str, str]) -> str:
    """Return what is equal for servers that one warm engine can fork: the vLLM, the environment, the cores.

    OpenMP counts its cores, as it reads its variables, when it is loaded. A digest, since environments hold secrets.
    """
    decisive = sorted((name, value) for name, value in environment.items() if name not in MAY_DIFFER)
    cores = sorted(os.sched_getaffinity(0))
    text = json.dumps([installation.python, installation.version, installation.location, decisive, cores])
    return hashlib.sha256(text.encode()).hexdigest()


def _environment(environment: Mapping[str, str], tmp_dir: Path) -> dict[str, str]:
    decisive = {name: value for name, value in environment.items() if name not in MAY_DIFFER}
    return {"PATH": os.defpath, **decisive, "TMPDIR": str(tmp_dir)}


def _start_engine(
    key: str,
    installation: Installation,
    environment: Mapping[str, str],
    log: IO[bytes],
    should_stop: Callable[[], bool],
) -> WarmEngine:
    """Start a warm engine with this very environment; return it when it has imported all."""
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
            raise _Refused(str(error)) from error
    try:
        control.sendall(_line(environment))
        answer = _receive(control, time.monotonic() + _PRELOAD_LIMIT_S, should_stop)
        if "cannot" in answer:
            raise _Refused(answer["cannot"])
        return WarmEngine(key, process, control, answer["ready_s"])
    except BaseException as error:
        control.close()
        _end(process)
        if not isinstance(error, OSError):
            raise
        log.seek(0)
        last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise _Refused(f"{installation.python} could not preload vLLM: {error}; its last line: {last}") from error


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
