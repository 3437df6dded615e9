"""A running server: watched by its processes, its log and its answers; stopped with all its children."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import Interrupted, ServerDied, ServerFailed, ServerHung, ServerNotReady, StopIncomplete
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Observer
from mixvllm.runs.scrub import LogScrubber
from mixvllm.server.address import Address
from mixvllm.server.aftermath import GpuBaseline, what_is_left
from mixvllm.server.client import ServerClient
from mixvllm.server.failure import FailureReport, exit_words
from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.limits import STOP_LIMITS, StartLimit, StopLimits
from mixvllm.server.liveness import Liveness
from mixvllm.server.log import LogReader
from mixvllm.server.processes import ProcessId
from mixvllm.server.readiness import Readiness
from mixvllm.server.record import ServerRecord
from mixvllm.server.sampler import Sampler
from mixvllm.server.startup import StartUp
from mixvllm.server.usage import usage_of

_TICK_S = 0.1
_TREE_PERIOD_S = 2.0
_SETTLE_S = 3.0  # for an engine that dies of the first request to take its front end along


def never() -> bool:
    """Say no: the default of a question whether to stop."""
    return False


@dataclass(frozen=True)
class Place:
    """Where a server runs.

    Args:
        folder: where its log and records are.
        address: where it answers.
        tmp_dir: its own folder for temporary files.
        log_start: the byte of the log that its own lines begin at.
        is_cpu: whether it needs no GPU.
        secrets: what its log must not hold.
    """

    folder: RunFolder
    address: Address
    tmp_dir: Path
    log_start: int = 0
    is_cpu: bool = False
    secrets: frozenset[str] = frozenset()


class Server:
    """One vLLM server. A context manager: leaving it stops the server.

    Args:
        config: what it runs.
        place: where.
        process: its leader, under its guardian.
        observers: told of every event.
        stop_limits: how long the stages of a stop may take.
    """

    def __init__(
        self,
        config: ServeConfig,
        place: Place,
        process: GuardedProcess,
        observers: Iterable[Observer],
        *,
        stop_limits: StopLimits = STOP_LIMITS,
    ) -> None:
        self.config = config
        self.address = place.address
        self.is_ready = False
        self._place = place
        self._process = process
        self._stop_limits = stop_limits
        self._record = ServerRecord(place.folder, process, observers)
        self._client = ServerClient(self.url, self.address.key.value if self.address.key else None)
        self._background = ThreadPoolExecutor(max_workers=3, thread_name_prefix="server-probe")
        self._readiness = Readiness(
            self._client,
            self.address.identity(self.model_name),
            self.model_name,
            is_pooling=config.model.runner == "pooling",
            background=self._background,
            replicas=place.folder.replicas if config.server.replicas > 1 else None,
        )
        log = LogReader(self.log_path, place.log_start)
        self._startup = StartUp(log, self._usage, config.server.stall_timeout_s)
        self._scrubber = LogScrubber(self.log_path, place.secrets, place.log_start)
        self._failures = FailureReport(self.log_path, place.log_start, config, place.secrets)
        self._sampler = Sampler(place.folder, self._client, self._pids, config.server.sample_period_s)
        self._liveness: Liveness | None = None
        self._gpus = GpuBaseline(self._background, is_needed=not place.is_cpu)
        self._failure: ServerFailed | None = None
        self._is_stopped = False
        self._tree_due = 0.0
        self._record.write_processes()
        self._record.tell(
            "spawned",
            pid=process.leader.pid,
            start_ticks=process.leader.start_ticks,
            port=self.address.lease.port,
            model=self.model_name,
            **process.record(),
            tmp_dir=str(place.tmp_dir),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def folder(self) -> RunFolder:
        """Where its log and records are."""
        return self._place.folder

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
        return self._process.leader.pid

    @property
    def client(self) -> ServerClient:
        """For requests to the server, with its key."""
        return self._client

    @property
    def model_name(self) -> str:
        """The name that clients ask for."""
        return self.config.model.served_names[0]

    @property
    def start_kind(self) -> str:
        """How it was started: `warm`, forked from an interpreter that had imported vLLM, or `cold`."""
        return self._process.start_kind

    @property
    def served_s(self) -> float:
        """Seconds since it was started."""
        return self._record.elapsed_s

    def poll(self) -> int | None:
        """Return the leader's exit status (negative: the signal that ended it), or None while it lives."""
        return self._process.poll()

    def wait_ready(
        self,
        timeout_s: float | None = None,
        *,
        should_stop: Callable[[], bool] = never,
        limit: StartLimit | None = None,
    ) -> None:
        """Return when the server has answered on `/health`, shown that it is ours, and produced a token.

        Args:
            timeout_s: seconds from now; None = `server.ready_timeout_s`.
            should_stop: asked ten times a second.
            limit: another one, which comes from outside; None where there is none.

        Raises:
            ServerDied: its process ended.
            ServerNotReady: the time is over, nothing moves any more, or the first request failed.
            ServerForeign: something else answers on its address.
            Interrupted: `should_stop` said so.
        """
        try:
            self._wait_ready(self.config.server.ready_timeout_s if timeout_s is None else timeout_s, should_stop, limit)
        except ServerFailed as error:
            self._failure = error
            raise
        self.is_ready = True
        self._process.tell_ready()
        self._record.write_processes()
        self._record.publish(self.address, self.model_name)
        self._sampler.start()
        server = self.config.server
        self._liveness = Liveness(
            self._client,
            lambda: self._readiness.ask_token(server.hang_probe_timeout_s),
            self._usage,
            server.hang_timeout_s,
            self._background,
        )
        self._record.tell("ready", url=self.url)

    def _wait_ready(self, limit_s: float, should_stop: Callable[[], bool], limit: StartLimit | None) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            self._follow_log()
            self._raise_if_dead(during="start-up")
            if should_stop():
                raise Interrupted("stopped before the server was ready")
            self._raise_if_late(deadline, limit_s)
            if limit is not None:
                limit.raise_if_over(self._startup.phase, self.log_path)
            if self._ask_ready(deadline - time.monotonic()):
                self._follow_log()  # what was printed while it was asked
                return

    def _ask_ready(self, remaining_s: float) -> bool:
        """Ask whether the server is ready; where it died of the question, say so rather than that it failed."""
        try:
            return self._readiness.ask(remaining_s)
        except ServerNotReady as error:
            self._settle()
            raise self._failures.error(ServerNotReady, str(error), self.poll()) from error

    def _settle(self) -> None:
        """Give a leader whose engine is dead the time to end, and to say why."""
        deadline = time.monotonic() + _SETTLE_S
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(_TICK_S)

    def _raise_if_late(self, deadline: float, limit_s: float) -> None:
        advice = "raise server.ready_timeout_s, or look for the cause above"
        stalled_s = self._startup.stalled_s()
        if stalled_s is not None:
            what = f"nothing has moved for {stalled_s:.0f} s"
            advice = "raise server.stall_timeout_s, or look for the cause above"
        elif time.monotonic() > deadline:
            what = f"not ready in {limit_s:g} s"
        else:
            return
        what = f"{what}, in phase {self._startup.phase}; process {self.pid} is alive"
        raise self._failures.error(ServerNotReady, what, None, advice=advice)

    def check(self) -> None:
        """Raise where the server has ended, its engine is dead, or it hangs. Quick; call it again and again.

        Raises:
            ServerDied: its process ended, or its engine is dead.
            ServerHung: it lives and produces nothing.
        """
        try:
            self._check()
        except ServerHung as error:
            self._failure = error
            self._record.tell("hung", cause=error.cause)
            raise
        except ServerFailed as error:
            self._failure = error
            raise

    def _check(self) -> None:
        self._scrubber.scrub()
        self._raise_if_dead(during="serving")
        if time.monotonic() >= self._tree_due:
            self._tree_due = time.monotonic() + _TREE_PERIOD_S
            self._record.write_processes()
        if self._liveness is None:
            return
        if self._liveness.engine_is_dead():
            self._settle()
            what = f"the engine of process {self.pid} died; /health answered 503"
            raise self._failures.error(ServerDied, what, self.poll(), is_transient=True)
        what_hangs = self._liveness.hang()
        if what_hangs is not None:
            raise self._failures.error(ServerHung, what_hangs, None, is_transient=True)

    def stop(self, *, is_forced: Callable[[], bool] = never, is_replaced: bool = False) -> None:
        """Stop the server and everything it started. May be called again.

        The leader alone is told: SIGTERM when it serves, so that requests in flight finish, SIGINT before, where vLLM
        ignores SIGTERM. What is left at the deadline is killed, since a drain can hang for ever.

        Args:
            is_forced: asked while waiting; True ends the wait and kills at once.
            is_replaced: whether another server follows on the same address, which is then kept.

        Raises:
            StopIncomplete: a process, the port or memory of a GPU is left; the message names it.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        is_hung = isinstance(self._failure, ServerHung)
        left: list[ProcessId] = []
        try:
            self._record.withdraw()
            self._sampler.stop()
            if self.poll() is None and not is_hung:
                drain_s = self.config.server.drain_timeout_s if self.is_ready else 0
                self._record.tell("draining", timeout_s=drain_s)
        finally:
            left = self._process.stop(lambda: is_hung or is_forced())
            self._client.close()
            self._background.shutdown(wait=False, cancel_futures=True)
            port = self.address.lease.port if self.is_ready else None
            rest = what_is_left(left, port, self._gpus, self._stop_limits)
            self._scrubber.scrub(until_end=True)
            if not is_replaced:
                self.address.lease.release()
        self._record_end(rest, is_replaced)

    def _record_end(self, rest: str | None, is_replaced: bool) -> None:
        facts: dict[str, Any] = {"url": None, "exit_code": self.poll(), "was_killed": self._process.was_killed}
        if rest is not None:
            message = f"left after the stop: {rest}"
            self._record.tell("failed", cause=message, **facts)
            advice = "mixvllm doctor names what is left; ps -o pid,stat,wchan,args shows what a process waits for"
            raise StopIncomplete(f"{message}\n  next: {advice}")
        if self._failure is not None:
            facts |= {"cause": self._failure.cause, "failure": self._failure.failure}
        outcome = "stopped" if self._failure is None else "failed"
        self._record.tell("replaced" if is_replaced else outcome, outcome=outcome, **facts)

    def _follow_log(self) -> None:
        for phase in self._startup.new_phases():
            self._record.write_processes()
            self._record.tell("phase", phase=phase)
        self._scrubber.scrub()

    def _raise_if_dead(self, during: str) -> None:
        if not self._process.is_guarded():
            what = f"the guardian of process {self.pid} was killed; a server is not left without one"
            raise ServerDied(what, kind="transient", failure={"id": "guardian-killed", "cause": what})
        status = self.poll()
        if status is not None:
            self._follow_log()
            what = f"the server ended by itself during {during}: {exit_words(status)}"
            raise self._failures.error(ServerDied, what, status, is_transient=self.is_ready)

    def _usage(self) -> Any:
        return usage_of(self._process.tree.refresh())

    def _pids(self) -> list[int]:
        return [process.pid for process in self._process.tree.refresh()]
