"""Looking after a server: while it starts, until it is ready; while it serves, that it lives and produces something."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import Interrupted, ServerDied, ServerHung, ServerNotReady
from mixvllm.runs.scrub import LogScrubber
from mixvllm.server.client import ServerClient
from mixvllm.server.failure import FailureReport, exit_words
from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.limits import StartLimit
from mixvllm.server.liveness import Liveness
from mixvllm.server.log import LogReader
from mixvllm.server.place import Place
from mixvllm.server.readiness import Readiness
from mixvllm.server.record import ServerRecord
from mixvllm.server.startup import StartUp
from mixvllm.server.usage import Usage, usage_of

_TICK_S = 0.1
_TREE_PERIOD_S = 2.0
_SETTLE_S = 3.0  # for an engine that dies of the first request to take its front end along


class Watch:
    """Raises what is wrong with one server, with the cause that its log shows.

    Args:
        config: what it runs.
        place: where.
        process: its leader, under its guardian.
        client: for requests to it.
        record: told of its phases and its processes.
        background: where it is asked.
    """

    def __init__(
        self,
        config: ServeConfig,
        place: Place,
        process: GuardedProcess,
        client: ServerClient,
        record: ServerRecord,
        background: Executor,
    ) -> None:
        self._config = config
        self._process = process
        self._client = client
        self._record = record
        self._background = background
        log, model_name = place.folder.server_log, config.model.served_names[0]
        self._log = log
        self._readiness = Readiness(
            client,
            place.address.identity(model_name),
            model_name,
            is_pooling=config.model.runner == "pooling",
            background=background,
            replicas=place.folder.replicas if config.server.replicas > 1 else None,
        )
        self._startup = StartUp(LogReader(log, place.log_start), self._usage, config.server.stall_timeout_s)
        self._scrubber = LogScrubber(log, place.secrets, place.log_start)
        self._failures = FailureReport(log, place.log_start, config, place.secrets)
        self._liveness: Liveness | None = None
        self._tree_due = 0.0

    def await_ready(self, limit_s: float, should_stop: Callable[[], bool], limit: StartLimit | None) -> None:
        """Return when the server is ready, see `Server.wait_ready`; from then on `check` looks whether it hangs."""
        deadline = time.monotonic() + limit_s
        while True:
            self._follow_log()
            self._raise_if_dead(during="start-up")
            if should_stop():
                raise Interrupted("stopped before the server was ready")
            self._raise_if_late(deadline, limit_s)
            if limit is not None:
                limit.raise_if_over(self._startup.phase, self._log)
            if self._ask_ready(deadline - time.monotonic()):
                break
        self._follow_log()  # what was printed while it was asked
        server = self._config.server
        self._liveness = Liveness(
            self._client,
            lambda: self._readiness.ask_token(server.hang_probe_timeout_s),
            self._usage,
            server.hang_timeout_s,
            self._background,
        )

    def check(self) -> None:
        """Raise where the server has ended, its engine is dead, or it hangs; see `Server.check`."""
        self._scrubber.scrub()
        self._raise_if_dead(during="serving")
        if time.monotonic() >= self._tree_due:
            self._tree_due = time.monotonic() + _TREE_PERIOD_S
            self._record.write_processes()
        if self._liveness is None:
            return
        if self._liveness.engine_is_dead():
            self._settle()
            what = f"the engine of process {self._pid} died; /health answered 503"
            raise self._failures.error(ServerDied, what, self._process.poll(), is_transient=True)
        what_hangs = self._liveness.hang()
        if what_hangs is not None:
            raise self._failures.error(ServerHung, what_hangs, None, is_transient=True)

    def close_log(self) -> None:
        """Take the secrets out of all that was printed, once nothing more is."""
        self._scrubber.scrub(until_end=True)

    @property
    def _pid(self) -> int:
        return self._process.leader.pid

    def _ask_ready(self, remaining_s: float) -> bool:
        """Ask whether the server is ready; where it died of the question, say so rather than that it failed."""
        try:
            return self._readiness.ask(remaining_s)
        except ServerNotReady as error:
            self._settle()
            raise self._failures.error(ServerNotReady, str(error), self._process.poll()) from error

    def _settle(self) -> None:
        """Give a leader whose engine is dead the time to end, and to say why."""
        deadline = time.monotonic() + _SETTLE_S
        while self._process.poll() is None and time.monotonic() < deadline:
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
        what = f"{what}, in phase {self._startup.phase}; process {self._pid} is alive"
        raise self._failures.error(ServerNotReady, what, None, advice=advice)

    def _raise_if_dead(self, during: str) -> None:
        if not self._process.is_guarded():
            what = f"the guardian of process {self._pid} was killed; a server is not left without one"
            raise ServerDied(what, kind="transient", failure={"id": "guardian-killed", "cause": what})
        status = self._process.poll()
        if status is not None:
            self._follow_log()
            what = f"the server ended by itself during {during}: {exit_words(status)}"
            raise self._failures.error(ServerDied, what, status, is_transient=self._liveness is not None)

    def _follow_log(self) -> None:
        for phase in self._startup.new_phases():
            self._record.write_processes()
            self._record.tell("phase", phase=phase)
        self._scrubber.scrub()

    def _usage(self) -> Usage:
        return usage_of(self._process.tree.refresh())
