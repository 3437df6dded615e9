"""What a sweep shows while it runs: live lines on a terminal, a line for each server and repeat elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, TextIO

from mixvllm.cli.live import LiveLines
from mixvllm.cli.screen import PHASE_WORDS
from mixvllm.cli.terminal import is_live, width_of
from mixvllm.sweep.faults import shown_labels
from mixvllm.sweep.plan import PlannedPoint
from mixvllm.sweep.progress import Progress, Running, done_words, measured_words, progress_lines
from mixvllm.sweep.text_table import short_names


class SweepScreen:
    """Shows a sweep; all of it goes to stderr.

    Args:
        points: planned.
        records: of the repeats that were done before.
        num_servers: that are started now.
        num_slots: servers that may run at once.
        stream: None = stderr.
    """

    def __init__(
        self,
        points: Sequence[PlannedPoint],
        records: Sequence[Mapping[str, Any]],
        *,
        num_servers: int,
        num_slots: int,
        stream: TextIO | None = None,
    ) -> None:
        self._points = {point.content_hash: point for point in points}
        self._num_repeats = sum(point.num_repeats for point in points)
        self._records = list(records)
        self._num_servers = num_servers
        self._num_slots = num_slots
        self._num_begun = 0
        self._running: dict[str, tuple[str, str, float]] = {}
        self._stream = stream or sys.stderr
        self._is_live = is_live(self._stream)
        self._numbers = {point.content_hash: point.index for point in points}
        self._live: LiveLines | None = None

    def __call__(self, message: dict[str, Any]) -> None:
        """Take what happens."""
        show = getattr(self, f"_{message['event']}", None)
        if show is not None:
            show(message)
        self._refresh()

    def say(self, line: str) -> None:
        """Show a line."""
        self.close()
        with suppress(OSError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def close(self) -> None:
        """Take the live lines away."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def _group_began(self, message: dict[str, Any]) -> None:
        self._num_begun += 1
        name = f"server {message['server_key'][:6]}"
        self._set(message["server_key"], name, "starting")
        if not self._is_live:
            self.say(f"{name}: starting; {done_words(self._progress())}")

    def _group_ended(self, message: dict[str, Any]) -> None:
        self._running.pop(message["server_key"], None)

    def _server(self, message: dict[str, Any]) -> None:
        name = f"server {message['server_key'][:6]}"
        self._set(message["server_key"], name, PHASE_WORDS.get(message["phase"], message["phase"]))
        if message["phase"] == "ready" and not self._is_live:
            self.say(f"{name}: ready")

    def _repeat_began(self, message: dict[str, Any]) -> None:
        point = self._points[message["point"]]
        self._set(point.server_key, f"point {point.index}", f"repeat {message['repeat']}")

    def _repeat_ended(self, message: dict[str, Any]) -> None:
        self._records.append(message)
        point = self._points[message["point"]]
        reason = f": {message['reason']}" if message["reason"] else ""
        throughput = measured_words(message)
        words = f"{message['verdict']}{reason}{f', {throughput}' if throughput else ''} ({message['duration_s']:.1f} s)"
        count = f"{len(self._records)}/{self._num_repeats}"
        self.say(f"{count}  point {point.index}  {self._labels(point)}  repeat {message['repeat']}: {words}")

    def _labels(self, point: PlannedPoint) -> str:
        """Return the swept values of `point`; on a terminal, whose lines are short, without the sections."""
        names = short_names(list(point.labels)) if self._is_live else list(point.labels)
        return shown_labels(dict(zip(names, point.labels.values(), strict=True)))

    def _worker_died(self, message: dict[str, Any]) -> None:
        self.say(f"{message['num_left']} repeats are left: {message['cause']}")

    def _remark(self, message: dict[str, Any]) -> None:
        self.say(str(message["text"]))

    def _set(self, server_key: str, name: str, phase: str) -> None:
        self._running[server_key] = (name, phase, monotonic())

    def _refresh(self) -> None:
        if not self._is_live:
            return
        if self._live is None:
            self._live = LiveLines(self._lines, lambda: width_of(self._stream), self._stream)
        else:
            self._live.refresh()

    def _lines(self, width: int) -> list[str]:
        return progress_lines(self._progress(), width, self._numbers)

    def _progress(self) -> Progress:
        now = monotonic()
        return Progress(
            planned={point.content_hash: point.num_repeats for point in self._points.values()},
            num_servers=self._num_servers,
            num_slots=self._num_slots,
            records=list(self._records),
            num_servers_begun=self._num_begun,
            running=[Running(name, phase, now - since) for name, phase, since in list(self._running.values())],
        )
