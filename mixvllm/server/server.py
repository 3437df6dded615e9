"""One server, from its start until it has been stopped with all its children."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import ServerDied, ServerFailed, ServerHung, StopIncomplete
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Observer
from mixvllm.server.aftermath import GpuBaseline, what_is_left
from mixvllm.server.client import ServerClient
from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.limits import STOP_LIMITS, StartLimit, StopLimits
from mixvllm.server.place import Place
from mixvllm.server.record import ServerRecord
from mixvllm.server.sampler import Sampler
from mixvllm.server.watch import Watch

_ENDS_AS_IF_TOLD = frozenset({0, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT})
"""Exit statuses."""


def never() -> bool:
    """Say no: the default of a question whether to stop."""
    return False


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
        self.client = ServerClient(self.url, self.address.key.value if self.address.key else None)
        """For requests to the server, with its key."""
        self.is_ready = False
        self._place = place
        self._process = process
        self._stop_limits = stop_limits
        self._record = ServerRecord(place.folder, process, observers)
        self._background = ThreadPoolExecutor(max_workers=3, thread_name_prefix="server-probe")
        self._watch = Watch(config, place, process, self.client, self._record, self._background)
        self._sampler = Sampler(place.folder, self.client, self._pids, config.server.sample_period_s)
        self._gpus = GpuBaseline(self._background, is_needed=not place.is_cpu)
        self._failure: ServerFailed | None = None
        self._is_stopped = False
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
        limit_s = self.config.server.ready_timeout_s if timeout_s is None else timeout_s
        try:
            self._watch.await_ready(limit_s, should_stop, limit)
        except ServerFailed as error:
            self._failure = error
            raise
        self.is_ready = True
        self._process.tell_ready()
        self._record.write_processes()
        self._record.publish(self.address, self.model_name)
        self._sampler.start()
        self._record.tell("ready", url=self.url)

    def check(self) -> None:
        """Raise where the server has ended, its engine is dead, or it hangs. Quick; call it again and again.

        Raises:
            ServerDied: its process ended, or its engine is dead.
            ServerHung: it lives and produces nothing.
        """
        try:
            self._watch.check()
        except ServerHung as error:
            self._failure = error
            self._record.tell("hung", cause=error.cause)
            raise
        except ServerFailed as error:
            self._failure = error
            raise

    @property
    def ended_as_if_told(self) -> bool:
        """Whether it ended by itself, the way it does when it is told to: with Slurm, all of a job hear of its end."""
        return isinstance(self._failure, ServerDied) and self.poll() in _ENDS_AS_IF_TOLD

    def stop(self, *, is_forced: Callable[[], bool] = never, is_replaced: bool = False, is_asked: bool = False) -> None:
        """Stop the server and everything it started. May be called again.

        The leader alone is told: SIGTERM when it serves, so that requests in flight finish, SIGINT before, where vLLM
        ignores SIGTERM. What is left at the deadline is killed, since a drain can hang for ever.

        Args:
            is_forced: asked while waiting; True ends the wait and kills at once.
            is_replaced: whether another server follows on the same address, which is then kept.
            is_asked: whether it has not failed where it ended as if it was told to: it was.

        Raises:
            StopIncomplete: a process, the port or memory of a GPU is left; the message names it.
        """
        if self._is_stopped:
            return
        self._is_stopped = True
        if is_asked and self.ended_as_if_told:
            self._failure = None
        is_hung = isinstance(self._failure, ServerHung)
        try:
            self._record.withdraw()
            self._sampler.stop()
            if self.poll() is None and not is_hung:
                drain_s = self.config.server.drain_timeout_s if self.is_ready else 0
                self._record.tell("draining", timeout_s=drain_s)
        finally:
            left = self._process.stop(lambda: is_hung or is_forced())
            self.client.close()
            self._background.shutdown(wait=False, cancel_futures=True)
            port = self.address.lease.port if self.is_ready else None
            rest = what_is_left(left, port, self._gpus, self._stop_limits)
            self._watch.close_log()
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

    def _pids(self) -> list[int]:
        return [process.pid for process in self._process.tree.refresh()]
