"""Measures the points that share a server, one after the other; each verdict is written before the next begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from time import monotonic
from typing import Any

from mixvllm.errors import Interrupted, MixvllmError, ServerFailed, StopIncomplete, WorkloadFailed
from mixvllm.machine.gpu_locks import starting_on
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Journal
from mixvllm.server.service import Service
from mixvllm.server.signals import StopSignals
from mixvllm.server.start import Deployment, environment_of, prepare, run_facts, take_address
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.server.warm.interpreter import WarmEngine
from mixvllm.sweep.meter import Meter
from mixvllm.sweep.point import Point, load_point
from mixvllm.sweep.repeat_record import record_of, write_repeat
from mixvllm.sweep.slots import Slot
from mixvllm.sweep.sweep_folder import SweepFolder

Tell = Callable[[dict[str, Any]], None]
"""Takes what happens, as JSON has it."""


@dataclass(frozen=True)
class Task:
    """What is to be measured on one server.

    Args:
        server_key: of the server.
        repeats: content hash and number of each, in order; those of one point follow each other.
        slot: what the server has for itself.
        is_warm: whether the server is forked from an interpreter that has imported vLLM, where that is possible.
    """

    server_key: str
    repeats: tuple[tuple[str, int], ...]
    slot: Slot
    is_warm: bool = False


@dataclass
class _Up:
    """A server that is ready."""

    service: Service
    folder: RunFolder
    start: dict[str, Any]


class GroupRunner:
    """Runs one task.

    A server that fails is started once more for the point that it failed in; where it fails again the point has failed
    too, and the next one gets a new server. A start that fails of the configuration, or twice, fails all points. What
    fails while a stop is asked for proves nothing, and is not recorded.

    Args:
        folder: of the sweep.
        task: what to measure.
        meter: measures.
        engines: fork servers.
        signals: ask for a stop.
        tell: told of phases, states and verdicts.
    """

    def __init__(
        self,
        folder: SweepFolder,
        task: Task,
        meter: Meter,
        engines: WarmEngines,
        signals: StopSignals,
        tell: Tell,
    ) -> None:
        self._folder = folder
        self._task = task
        self._meter = meter
        self._engines = engines
        self._signals = signals
        self._tell = tell
        self._up: _Up | None = None

    def run(self) -> None:
        """Measure all of it; return early where a stop is asked for. Nothing is left running."""
        final: MixvllmError | None = None
        try:
            for content_hash, repeats in groupby(self._task.repeats, key=lambda each: each[0]):
                numbers = [number for _, number in repeats]
                if final is None:
                    final = self._run_point(content_hash, numbers)
                else:
                    self._fail(content_hash, numbers, final)
        except Interrupted:
            return
        finally:
            self._drop_server()

    def _run_point(self, content_hash: str, numbers: Sequence[int]) -> MixvllmError | None:
        """Measure the repeats of a point; return the error where no other point can be measured either."""
        pending, num_failures = list(numbers), 0
        point: Point | None = None
        while pending:
            self._raise_if_stopped()
            try:
                point = point or load_point(self._folder.point(content_hash))
                self._run_repeat(point, content_hash, pending[0])
                del pending[0]
            except OSError as error:  # a full disk, a folder that is gone: other points have others
                self._fail(content_hash, pending, WorkloadFailed(f"cannot be written: {error}"))
                return None
            except MixvllmError as error:
                if self._signals.is_coming():
                    raise Interrupted("stopped in the midst of a repeat") from error
                is_start = self._up is None
                self._drop_server()
                num_failures += 1
                if num_failures > 1 or not _may_pass(error, is_start=is_start):
                    self._fail(content_hash, pending, error, is_start=is_start)
                    return error if is_start else None
        return None

    def _raise_if_stopped(self) -> None:
        if self._signals.is_requested():
            raise Interrupted("stopped between two repeats")

    def _run_repeat(self, point: Point, content_hash: str, number: int) -> None:
        up = self._up = self._up or self._start(point)
        self._tell({"event": "repeat_began", "point": content_hash, "repeat": number})
        began = monotonic()
        measured = self._meter.measure(point, up.service.server, self._folder.point_folder(content_hash), number - 1)
        if measured.error is not None:
            raise measured.error
        if measured.verdict != "ok" and self._signals.is_coming():  # it may have reached the load generator, too
            raise Interrupted("stopped in the midst of a repeat")
        facts = {
            "start": up.start,
            "server_run": up.folder.name,
            "duration_s": round(monotonic() - began, 3),
            "versions": {"mixvllm": version("mixvllm"), point.installation.distribution: point.installation.version},
        }
        self._write(content_hash, number, {**measured.record(), **facts})

    def _start(self, point: Point) -> _Up:
        """Return a server that is ready."""
        folder = RunFolder.create(self._folder.server_folder(self._task.server_key))
        config, slot = point.config, self._task.slot
        measuring = config.workload.server_environment(config.server)
        environment = slot.environment(config.server.env, os.environ) | measuring
        self._meter.warm_up(point)
        write_json(folder.point, point.record())
        prepare(config, point.installation, folder, self._remark)
        deployment = Deployment(config, point.installation, environment, self._signals.take_start_limit())
        is_warm = self._task.is_warm and config.runtime.kind == "local"
        warm = self._warm_engine(deployment) if is_warm else None
        began = monotonic()
        with starting_on(slot.gpus, self._signals.is_requested):
            service = Service(
                deployment,
                folder,
                take_address(config, folder),
                [Journal(folder, run_facts(config)), self._tell_event],
                should_stop=self._signals.is_requested,
                is_forced=self._signals.is_forced,
                warm=warm,
            )
            with _stopped_on_failure(service, self._signals):
                service.wait_ready()
        start = {"kind": service.server.start_kind, "ready_s": round(monotonic() - began, 3)}
        return _Up(service, folder, start | ({"preload_s": warm.preload_s} if warm else {}))

    def _warm_engine(self, deployment: Deployment) -> WarmEngine | None:
        self._tell_phase("preload")
        environment = environment_of(deployment)
        engine = self._engines.get(deployment.installation, environment)
        if engine is None:
            self._remark(f"started cold: {self._engines.why_not(deployment.installation, environment)}")
        return engine

    def _drop_server(self) -> None:
        up, self._up = self._up, None
        if up is not None:
            try:
                up.service.stop(self._signals.is_forced)
            except StopIncomplete as error:
                self._remark(str(error))

    def _fail(
        self, content_hash: str, numbers: Sequence[int], error: MixvllmError, *, is_start: bool | None = None
    ) -> None:
        record = record_of(error)
        at_start = {"at_start": record["failure"].get("id")} if is_start else {}
        for number in numbers:
            self._write(content_hash, number, record, **at_start)

    def _write(self, content_hash: str, number: int, record: dict[str, Any], **facts: Any) -> None:
        self._tell({**write_repeat(self._folder, self._task.server_key, content_hash, number, record), **facts})

    def _remark(self, line: str) -> None:
        self._tell({"event": "remark", "text": line})

    def _tell_event(self, event: Event) -> None:
        if event.name in ("spawned", "phase", "ready", "restarting"):
            phase = event.fields.get("phase", "ready" if event.name == "ready" else "imports")
            self._tell_phase(phase)

    def _tell_phase(self, phase: str) -> None:
        self._tell({"event": "server", "server_key": self._task.server_key, "phase": phase})


@contextmanager
def _stopped_on_failure(service: Service, signals: StopSignals) -> Iterator[None]:
    try:
        yield
    except BaseException:
        service.stop(signals.is_forced)
        raise


def _may_pass(error: MixvllmError, *, is_start: bool) -> bool:
    """Whether the same may go well the next time; an environment in which a server was ready once is good enough."""
    final = ("config", "environment") if is_start else ("config",)
    return isinstance(error, ServerFailed) and error.kind not in final
