"""Keeps one address served: by one server after the other where one fails, or is to become another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from mixvllm.errors import Interrupted, MixvllmError, ServerFailed, ServerForeign, WorkloadFailed
from mixvllm.machine.ports import lease_port
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Observer, tell_end
from mixvllm.server.address import Address
from mixvllm.server.limits import STOP_LIMITS, StopLimits
from mixvllm.server.restart import Failure, RestartPolicy
from mixvllm.server.server import Server, never
from mixvllm.server.signals import comes_soon
from mixvllm.server.start import Deployment, launch
from mixvllm.server.warm.interpreter import WarmEngine

PORT_IN_USE = "port-in-use"
"""Id of the diagnosis that the port was taken while the server was loading."""

_TICK_S = 0.1
_MAX_PORTS_LOST = 5
"""Starts in a row that lost their port, and are not counted as failures: more are no accident."""


class Service:
    """A server that is started again where that helps, always on the same address.

    A context manager: leaving it stops the server and gives up the address.

    Args:
        deployment: what it runs.
        folder: where log and records are.
        address: taken; given up at the end.
        observers: told of every event.
        should_stop: asked while waiting.
        is_forced: asked while a server that another one follows is stopped; True kills it at once.
        stop_limits: how long the stages of a stop may take.
        warm: forks the servers whose environment allows that; the others are started cold.
    """

    def __init__(  # noqa: PLR0913 - what it asks whether to stop belongs to it like what it serves
        self,
        deployment: Deployment,
        folder: RunFolder,
        address: Address,
        observers: Iterable[Observer],
        *,
        should_stop: Callable[[], bool] = never,
        is_forced: Callable[[], bool] = never,
        stop_limits: StopLimits = STOP_LIMITS,
        warm: WarmEngine | None = None,
    ) -> None:
        self.deployment = deployment
        self._folder = folder
        self._address = address
        self._observers = tuple(observers)
        self._should_stop = should_stop
        self._is_forced = is_forced
        self._stop_limits = stop_limits
        self._warm = warm
        self._policy = RestartPolicy(deployment.config.server)
        self._num_ports_lost = 0
        self._is_between = False
        self._start_limit = deployment.start_limit
        self.server = self._launch()

    def wait_ready(self) -> None:
        """Return when the server is ready, or one that was started after it.

        Raises:
            ServerFailed: it is given up.
            Interrupted: a stop was asked for.
        """
        while True:
            try:
                self.server.wait_ready(should_stop=self._should_stop, limit=self._start_limit)
                self._num_ports_lost = 0
                self._start_limit = None
                return
            except ServerFailed as error:
                self._next_server(error)

    def check(self) -> None:
        """Look after the server; where it failed, return only when another one is ready.

        Raises:
            ServerFailed: it failed and is given up.
            Interrupted: a stop was asked for meanwhile.
        """
        try:
            self.server.check()
        except ServerFailed as error:
            self._next_server(error)
            self.wait_ready()

    def replace(self, deployment: Deployment) -> ServerFailed | None:
        """Drain the server and serve `deployment` on the same address; go back where that does not become ready.

        Returns:
            Why it went back; None where the new one serves.

        Raises:
            ServerFailed: the old one did not come back either.
            Interrupted: a stop was asked for meanwhile.
        """
        before = self.deployment
        self._serve_instead(deployment)
        try:
            self.server.wait_ready(should_stop=self._should_stop)
        except ServerFailed as error:
            self._serve_instead(before)
            self.wait_ready()
            return error
        self._policy = RestartPolicy(deployment.config.server)
        return None

    def _serve_instead(self, deployment: Deployment) -> None:
        self._end_server()
        if self._should_stop():
            raise Interrupted("stopped before the next server was started")
        self.deployment = deployment
        self._start_next()

    def stop(self, is_forced: Callable[[], bool] = never) -> None:
        """Stop the server and give up the address. May be called again."""
        self.server.stop(is_forced=is_forced, is_asked=self._should_stop())
        self._address.lease.release()
        if self._is_between:
            self._is_between = False
            self._tell("stopped", cause=None, failure=None, url=None, was_killed=False)

    def raise_if_stopped(self, error: MixvllmError) -> None:
        """Raise where `error` is but a stop, of which the server, or what works with it, heard before this process.

        Raises:
            Interrupted: it is.
        """
        is_of_stop = isinstance(error, WorkloadFailed) or self.server.ended_as_if_told
        if is_of_stop and comes_soon(self._should_stop):
            raise Interrupted("stopped; the server heard of it first") from error

    def _next_server(self, error: ServerFailed) -> None:
        """Start another server after `error`, or raise it."""
        self.raise_if_stopped(error)
        failure = Failure(error.kind, self.server.is_ready, self.server.served_s)
        is_port_lost = self._is_port_lost(error)
        delay_s = 0.0 if is_port_lost else self._policy.delay_s(failure)
        if delay_s is None:
            raise error
        self._end_server()
        if is_port_lost:
            self._take_another_port()
        else:
            self._start_limit = None
        self._tell("restarting", cause=error.cause, message=str(error), delay_s=round(delay_s, 3))
        self._wait(delay_s)
        self._start_next()

    def _end_server(self) -> None:
        """Stop the server, so that another one can follow."""
        self.server.stop(is_forced=self._is_forced, is_replaced=True)
        self._is_between = True

    def _start_next(self) -> None:
        self._address = self._address.for_next_server()
        self.server = self._launch()
        self._is_between = False

    def _is_port_lost(self, error: ServerFailed) -> bool:
        """Whether somebody took the port while the server was loading, and another one will do."""
        is_taken = isinstance(error, ServerForeign) or error.failure.get("id") == PORT_IN_USE
        if not is_taken or self.deployment.config.server.port != "auto":
            return False
        self._num_ports_lost += 1
        return self._num_ports_lost <= _MAX_PORTS_LOST

    def _take_another_port(self) -> None:
        """Move to another port; the old one is kept meanwhile, so that it is not taken for free."""
        server = self.deployment.config.server
        lost = self._address
        self._address = replace(lost, lease=lease_port(server.host, "auto"))
        lost.lease.release()

    def _wait(self, delay_s: float) -> None:
        deadline = time.monotonic() + delay_s
        while time.monotonic() < deadline:
            if self._should_stop():
                raise Interrupted("stopped while waiting for the next start")
            time.sleep(_TICK_S)

    def _launch(self) -> Server:
        try:
            return launch(
                self.deployment,
                self._folder,
                self._address,
                self._observers,
                stop_limits=self._stop_limits,
                warm=self._warm,
            )
        except (MixvllmError, OSError) as error:
            self._address.lease.release()
            self._is_between = False
            tell_end(self._observers, error)
            raise

    def _tell(self, name: str, **fields: object) -> None:
        for observer in self._observers:
            observer(Event(name, self.server.served_s, fields))
