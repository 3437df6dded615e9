"""A running server: watched by its processes, its log and its answers; stopped with all its children."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import Interrupted, ServerDied, ServerFailed, ServerNotReady, StopIncomplete
from mixvllm.machine.ports import is_listening
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION, Event, Observer
from mixvllm.server.address import Address
from mixvllm.server.client import ServerClient
from mixvllm.server.limits import STOP_LIMITS, StopLimits
from mixvllm.server.log import LogReader, tail
from mixvllm.server.processes import ProcessId, ProcessTree, describe, identify
from mixvllm.vllm.phases import StartupPhases

_TICK_S = 0.1
_HEALTH_PERIOD_S = 2.0
_SETTLE_S = 3.0  # for an engine that dies of the first request to take its front end along


def never() -> bool:
    """Say no: the default of a question whether to stop."""
    return False


class Server:
    """One vLLM server. A context manager: leaving it stops the server.

    Args:
        config: what it runs.
        folder: where its log and records are.
        process: its leader, the first process of its session.
        address: where it answers.
        observers: told of every event.
        stop_limits: how long the stages of a stop may take.
    """

    def __init__(
        self,
        config: ServeConfig,
        folder: RunFolder,
        process: subprocess.Popen[bytes],
        address: Address,
        observers: Iterable[Observer],
        *,
        stop_limits: StopLimits = STOP_LIMITS,
    ) -> None:
        self.config = config
        self.folder = folder
        self.address = address
        self.is_ready = False
        self._process = process
        self._observers = tuple(observers)
        self._stop_limits = stop_limits
        self._began = time.monotonic()
        self._tree = ProcessTree(process.pid)
        self._log = LogReader(folder.server_log)
        self._phases = StartupPhases()
        self._client = ServerClient(address.url, address.key.value if address.key else None)
        self._background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-probe")
        self._health: Future[int | None] | None = None
        self._health_due = 0.0
        self._failure: str | None = None
        self._is_stopped = False
        leader = identify(process.pid)
        self._tell("spawned", pid=process.pid, start_ticks=leader and leader.start_ticks, port=address.lease.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`http://host:port`, without `/v1`."""
        return self.address.url

    @property
    def log_path(self) -> Path:
        """The file that the server prints to."""
        return self.folder.server_log

    @property
    def pid(self) -> int:
        """Number of the leader, which is also its session's."""
        return self._process.pid

    @property
    def client(self) -> ServerClient:
        """For requests to the server, with its key."""
        return self._client

    @property
    def model_name(self) -> str:
        """The name that clients ask for."""
        return self.config.model.served_names[0]

    def poll(self) -> int | None:
        """Return the leader's exit status (negative: the signal that ended it), or None while it lives."""
        return self._process.poll()

    def wait_ready(self, timeout_s: float | None = None, *, should_stop: Callable[[], bool] = never) -> None:
        """Return when the server has answered on `/health`, shown that it is ours, and produced a token.

        Args:
            timeout_s: seconds from now; None = `server.ready_timeout_s`.
            should_stop: asked ten times a second.

        Raises:
            ServerDied: its process ended.
            ServerNotReady: the time is over, or the first request failed.
            ServerForeign: something else answers on its address.
            Interrupted: `should_stop` said so.
        """
        try:
            self._wait_ready(self.config.server.ready_timeout_s if timeout_s is None else timeout_s, should_stop)
        except ServerFailed as error:
            self._failure = str(error).partition("\n")[0]
            raise
        self.is_ready = True
        self._publish()
        self._tell("ready", url=self.url)

    def _wait_ready(self, limit_s: float, should_stop: Callable[[], bool]) -> None:
        deadline = time.monotonic() + limit_s
        attempt: Future[bool] | None = None
        while True:
            self._follow_log()
            self._raise_if_dead(during="start-up")
            if should_stop():
                raise Interrupted("stopped before the server was ready")
            if time.monotonic() > deadline:
                raise ServerNotReady(self._late(limit_s))
            if attempt is None:
                attempt = self._background.submit(self._is_answering, deadline - time.monotonic())
            wait([attempt], timeout=_TICK_S)
            if attempt.done():
                if self._settle(attempt):
                    return
                attempt = None
                time.sleep(_TICK_S)

    def check(self) -> None:
        """Raise `ServerDied` where the process has ended, or its engine is dead. Quick; call it again and again."""
        try:
            self._check()
        except ServerDied as error:
            self._failure = str(error).partition("\n")[0]
            raise

    def _check(self) -> None:
        self._raise_if_dead(during="serving")
        if self._health is not None and self._health.done():
            status, self._health = self._health.result(), None
            if status == 503:
                raise ServerDied(self._with_log(f"the engine of process {self.pid} died; /health answers 503"))
        if self._health is None and time.monotonic() >= self._health_due:
            self._tree.refresh()
            self._health_due = time.monotonic() + _HEALTH_PERIOD_S
            self._health = self._background.submit(self._client.health)

    def stop(self, *, is_forced: Callable[[], bool] = never) -> None:
        """Stop the server and everything it started. May be called again.

        The leader alone is told: SIGTERM when it serves, so that requests in flight finish, SIGINT before, where vLLM
        ignores SIGTERM. What is left at the deadline is killed, since a drain can hang for ever.

        Args:
            is_forced: asked while waiting; True ends the wait and kills at once.

        Raises:
            StopIncomplete: a process or the port is left; the message names it.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        try:
            self._drain(is_forced)
        finally:
            was_killed = self.poll() is None or bool(self._tree.refresh())
            left = self._tree.kill()
            self._process.poll()
            self._client.close()
            self._background.shutdown(wait=False, cancel_futures=True)
            is_port_left = self._is_port_left()
            self.address.lease.release()
        self._record_end(left, is_port_left, was_killed)

    def _drain(self, is_forced: Callable[[], bool]) -> None:
        self.folder.endpoint.unlink(missing_ok=True)
        self._tree.refresh()
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM if self.is_ready else signal.SIGINT)
            self._tell("draining", timeout_s=self.config.server.drain_timeout_s if self.is_ready else 0)
            self._wait_for_leader(is_forced)
        if self.poll() is not None and not is_forced():
            self._tree.wait_gone(self._stop_limits.leftovers_s)

    def _is_port_left(self) -> bool:
        """Whether somebody still listens on the port, once it was shown to be ours; before, it may be another's."""
        deadline = time.monotonic() + self._stop_limits.port_s
        while (is_left := self.is_ready and is_listening(self.address.lease.port)) and time.monotonic() < deadline:
            time.sleep(_TICK_S)
        return is_left

    def _record_end(self, left: list[ProcessId], is_port_left: bool, was_killed: bool) -> None:
        if left or is_port_left:
            what = f"processes {describe(left)}" if left else f"a listener on port {self.address.lease.port}"
            message = f"left after the stop: {what}\n  next: ps -o pid,stat,wchan,args shows what they wait for"
            self._tell("failed", cause=message)
            raise StopIncomplete(message)
        if self._failure is None:
            self._tell("stopped", exit_code=self.poll(), was_killed=was_killed)
        else:
            self._tell("failed", cause=self._failure, exit_code=self.poll(), was_killed=was_killed)

    def _wait_for_leader(self, is_forced: Callable[[], bool]) -> None:
        limits = self._stop_limits
        drain_s = self.config.server.drain_timeout_s
        deadline = time.monotonic() + (drain_s + limits.after_drain_s if self.is_ready else limits.start_up_s)
        while self.poll() is None and time.monotonic() < deadline and not is_forced():
            self._tree.refresh()
            time.sleep(_TICK_S)

    def _is_answering(self, remaining_s: float) -> bool:
        """Ask the three questions of readiness; runs in the background, so that a hanging answer holds up nothing."""
        if self._client.health() != 200:
            return False
        self._client.check_identity(self.address.identity)
        is_pooling = self.config.model.runner == "pooling"
        self._client.check_token(self.model_name, is_pooling=is_pooling, timeout_s=max(remaining_s, 1.0))
        return True

    def _settle(self, attempt: Future[bool]) -> bool:
        """Return the answer of a finished attempt; where the server died of it, say so rather than that it failed."""
        try:
            return attempt.result()
        except ServerNotReady as error:
            deadline = time.monotonic() + _SETTLE_S
            while self.poll() is None and time.monotonic() < deadline:
                time.sleep(_TICK_S)
            raise ServerNotReady(self._with_log(str(error))) from error

    def _follow_log(self) -> None:
        for line in self._log.new_lines():
            if self._phases.read(line):
                self._tree.refresh()
                self._tell("phase", phase=self._phases.current)

    def _raise_if_dead(self, during: str) -> None:
        status = self.poll()
        if status is not None:
            self._follow_log()
            raise ServerDied(self._with_log(f"the server ended by itself during {during}: {_exit_words(status)}"))

    def _late(self, limit_s: float) -> str:
        what = f"not ready in {limit_s:g} s, in phase {self._phases.current}; process {self.pid} is alive"
        return f"{self._with_log(what)}\n  next: raise server.ready_timeout_s, or look for the cause above"

    def _with_log(self, what: str) -> str:
        lines = "\n".join(f"    {line}" for line in tail(self.log_path))
        return f"{what}\n  log: {self.log_path} (its end follows)\n{lines}"

    def _publish(self) -> None:
        """Write where the server answers, for other programs of this user."""
        write_json(
            self.folder.endpoint,
            {
                "schema": SCHEMA_VERSION,
                "url": self.url,
                "api_base": f"{self.url}/v1",
                "model": self.model_name,
                "identity": self.address.identity,
                "api_key": self.address.key.reference if self.address.key else None,
                "pid": self.pid,
            },
        )

    def _tell(self, name: str, **fields: Any) -> None:
        event = Event(name, time.monotonic() - self._began, fields)
        for observer in self._observers:
            observer(event)


def _exit_words(status: int) -> str:
    if status < 0:
        known = -status in set(signal.Signals)
        return f"killed by {signal.Signals(-status).name if known else f'signal {-status}'}"
    return f"exit status {status}" + (", which vLLM also gives when its engine dies" if status == 0 else "")
