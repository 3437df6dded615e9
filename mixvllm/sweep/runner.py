"""The one runner: executes a frozen point in a run folder, wherever it is, and leaves a result."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from mixvllm.errors import DemoModelFailed, Interrupted, MixvllmError, ServerFailed, WorkloadFailed
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION, Event, Journal, Observer, tell_end
from mixvllm.server.server import Server
from mixvllm.server.service import Service
from mixvllm.server.signals import StopSignals
from mixvllm.server.start import Deployment, prepare, run_facts, take_address
from mixvllm.sweep.point import Point
from mixvllm.sweep.reload import Recompose, Reloader
from mixvllm.workload.run import run_workload


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        status: `ok`, `failed` or `interrupted`.
        error: what went wrong; None unless it failed.
        figures: what the workload returned; empty where it did not end.
    """

    status: str
    error: MixvllmError | None = None
    figures: dict[str, Any] = field(default_factory=dict)


class View(Protocol):
    """Who is shown a run while it happens."""

    def __call__(self, event: Event) -> None:
        """Take an event of the server."""

    def say(self, line: str) -> None:
        """Take a line for the user."""

    def show_ready(self, server: Server) -> None:
        """Take the server when it is ready."""


def run_point(
    point: Point,
    folder: RunFolder,
    signals: StopSignals,
    view: View,
    recompose: Recompose | None = None,
) -> Outcome:
    """Start the server of `point`, do its workload, stop the server, and write `result.json`.

    Nothing is left running when it returns, whatever happened. A fault of mixvllm itself is recorded and raised.

    Args:
        recompose: gives the point that the run is to become; None where it cannot change.
    """
    write_json(folder.point, point.record())
    began, began_at = time.monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    outcome = Outcome("failed")
    try:
        outcome = _run(point, folder, signals, view, recompose)
    finally:
        result = {
            "schema": SCHEMA_VERSION,
            "status": outcome.status,
            "cause": str(outcome.error) if outcome.error else None,
            "workload": point.config.workload.kind,
            "figures": outcome.figures,
            "content_hash": point.content_hash,
            "began_at": began_at,
            "duration_s": round(time.monotonic() - began, 3),
        }
        write_json(folder.result, result)
    return outcome


def _run(point: Point, folder: RunFolder, signals: StopSignals, view: View, recompose: Recompose | None) -> Outcome:
    observers = (Journal(folder, run_facts(point.config)), view)
    try:
        figures = _serve(point, folder, signals, view, observers, recompose)
    except Interrupted:
        return Outcome("interrupted")
    except MixvllmError as error:
        if isinstance(error, DemoModelFailed) and signals.is_requested():
            return Outcome("interrupted")
        if not folder.status.exists():  # no server was started, so none has told of its end
            tell_end(observers, error)
        return Outcome("failed", error)
    return Outcome("interrupted" if signals.is_requested() else "ok", figures=figures)


def _serve(
    point: Point,
    folder: RunFolder,
    signals: StopSignals,
    view: View,
    observers: tuple[Observer, ...],
    recompose: Recompose | None,
) -> dict[str, Any]:
    prepare(point.config, point.installation, folder, view.say)
    service = Service(
        Deployment(point.config, point.installation, start_limit=signals.take_start_limit()),
        folder,
        take_address(point.config, folder),
        observers,
        should_stop=signals.is_requested,
        is_forced=signals.is_forced,
    )
    try:
        service.wait_ready()
        view.show_ready(service.server)
        reloader = Reloader(point, folder, service, signals, view, recompose) if recompose else lambda: None
        return run_workload(point.config, service, signals.is_requested, reloader)
    except (ServerFailed, WorkloadFailed) as error:
        service.raise_if_stopped(error)
        raise
    finally:
        service.stop(signals.is_forced)
