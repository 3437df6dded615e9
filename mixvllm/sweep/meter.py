"""Measures points on servers, with load generators that stay warm from one to the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from mixvllm.errors import ServerFailed, WorkloadFailed
from mixvllm.server.processes import identify, is_alive
from mixvllm.server.server import Server
from mixvllm.sweep.point import Point
from mixvllm.workload.generator import LoadGenerator, generator_environment, generator_wrapper
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.probe import probe
from mixvllm.workload.repeat import measure_repeat
from mixvllm.workload.task import RepeatTask


class Meter:
    """Measures one repeat after the other. A context manager: leaving it ends the load generators.

    Args:
        log_folder: where load generators write their logs.
        should_stop: asked again and again.
    """

    def __init__(self, log_folder: Path, should_stop: Callable[[], bool]) -> None:
        self._log_folder = log_folder
        self._should_stop = should_stop
        self._generators: dict[str, LoadGenerator] = {}
        self._kept = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def warm_up(self, point: Point) -> None:
        """Have the load generator of `point` import what it needs, in the background."""
        if point.config.workload.kind != "probe":
            self._generator(point)

    def measure(self, point: Point, server: Server, folder: Path, repeat: int) -> Measurement:
        """Return one repeat, counted from 0, of the workload of `point` on `server`.

        Raises:
            Interrupted: a stop was asked for.
        """
        if point.config.workload.kind == "probe":
            return _probe(point, server, repeat, self._should_stop)
        generator = self._generator(point)
        return measure_repeat(RepeatTask(point.config, server, generator, folder, repeat, self._should_stop))

    def _generator(self, point: Point) -> LoadGenerator:
        environment = generator_environment(point.config, point.installation)
        is_warm = point.config.workload.uses_bench
        wrapper = generator_wrapper(point.config)
        key = json.dumps(
            [is_warm, point.installation.python, asdict(wrapper), sorted(environment.items())], default=str
        )
        found = self._generators.get(key)
        if found is not None and not all(map(_is_alive, found.pids)):
            found.close()  # somebody killed it: what is measured next is not to fail of that
            found = None
        if found is None:
            generator = LoadGenerator(
                point.installation, environment, self._log_folder, is_warm=is_warm, wrapper=wrapper
            )
            found = self._generators[key] = self._kept.enter_context(generator)
        return found


def _is_alive(pid: int) -> bool:
    process = identify(pid)
    return process is not None and is_alive(process)


def _probe(point: Point, server: Server, repeat: int, should_stop: Callable[[], bool]) -> Measurement:
    began, began_at = monotonic(), datetime.now(UTC).isoformat(timespec="milliseconds")
    seed = point.config.workload.seed
    try:
        figures = probe(point.config, server, should_stop)
    except ServerFailed as error:
        return Measurement(repeat, seed, "failed", error.cause, began_at=began_at, error=error)
    except WorkloadFailed as error:
        return Measurement(repeat, seed, "failed", str(error).partition("\n")[0], began_at=began_at)
    numbers = {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}
    return Measurement(repeat, seed, "ok", metrics=numbers, began_at=began_at, duration_s=round(monotonic() - began, 3))
