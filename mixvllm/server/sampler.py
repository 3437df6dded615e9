"""Writes down, every few seconds, what a server that serves does: its metrics, its GPUs, its processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol

from mixvllm.machine.gpu_load import GpuReader, used_by
from mixvllm.machine.process_load import ProcessReader
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.samples import append_sample
from mixvllm.vllm.metrics import EngineMetrics, read_metrics
from mixvllm.vllm.rates import Rates, rates


class MetricsSource(Protocol):
    """Where the metrics of a server come from."""

    def metrics(self) -> str | None:
        """Return the text of `/metrics`; None where the server does not answer."""


class Sampler:
    """Takes a sample each period, in a thread of its own, and appends it to `samples.jsonl`.

    A sample has `answers`: false where the server did not answer, and then neither `engine` nor `rates`. What a
    machine does not tell is null. An error in one sample is written into it (`error`), and the next one is taken.

    Args:
        folder: of the run.
        client: of the server; asked in the sampler's thread.
        tree_pids: tells the server's processes; called in the sampler's thread.
        period_s: seconds from one sample to the next.
        began: when the server was started, by `time.monotonic`; None = now.
        gpus: how the GPUs are asked.
    """

    def __init__(
        self,
        folder: RunFolder,
        client: MetricsSource,
        tree_pids: Callable[[], Sequence[int]],
        period_s: float,
        *,
        began: float | None = None,
        gpus: GpuReader | None = None,
    ) -> None:
        self._folder = folder
        self._client = client
        self._tree_pids = tree_pids
        self._period_s = period_s
        self._began = time.monotonic() if began is None else began
        self._gpus = gpus or GpuReader()
        self._processes = ProcessReader()
        self._before: tuple[float, EngineMetrics] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take samples from now on."""
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Take no more samples, and wait `timeout_s` at the most for one that is being taken. May be called again."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            due += self._period_s
            if due <= time.monotonic():  # what was missed is not made up for
                due = time.monotonic() + self._period_s
            sample = self._heading()
            try:
                sample |= self._take()
            except Exception as error:  # noqa: BLE001 - a fault here must not leave the server unwatched
                sample["error"] = f"{type(error).__name__}: {error}"
            self._write(sample)

    def _heading(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "elapsed_s": round(time.monotonic() - self._began, 3),
            "period_s": self._period_s,
            "answers": False,
        }

    def _take(self) -> dict[str, Any]:
        pids = self._tree_pids()
        gpus = self._gpus.read()
        return {
            "processes": self._processes.read(pids).record(),
            "gpus": None if gpus is None else [gpu.record() for gpu in used_by(gpus, pids)],
            **self._take_engine(),
        }

    def _take_engine(self) -> dict[str, Any]:
        text = self._client.metrics()
        now = time.monotonic()
        if text is None:
            return {"answers": False}
        metrics = read_metrics(text)
        interval_s, found = None, Rates()
        if self._before is not None:
            interval_s = round(now - self._before[0], 6)
            found = rates(self._before[1], metrics, now - self._before[0])
        self._before = (now, metrics)
        return {"answers": True, "engine": metrics.record(), "interval_s": interval_s, "rates": asdict(found)}

    def _write(self, sample: dict[str, Any]) -> None:
        """Append `sample`; where the disk does not take it, the next one may fare better."""
        if self._stopping.is_set():
            return
        try:
            append_sample(self._folder, sample)
        except (OSError, ValueError):
            return
