"""A detached run: started in the background, shown until it serves, then left to itself."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixvllm.cli.points import point_of
from mixvllm.cli.screen import Screen
from mixvllm.config.load import Composed
from mixvllm.errors import ServerFailed
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event
from mixvllm.runs.records import read_json
from mixvllm.server.background import start_background
from mixvllm.server.log import tail
from mixvllm.server.processes import ProcessId, is_alive, send_signal
from mixvllm.server.signals import StopSignals

_TICK_S = 0.1


def run_detached(composed: Composed) -> int:
    """Start what was composed in the background; return 0 once it is ready, or 128 + n where signal n stopped it.

    Raises:
        MixvllmError: it failed.
    """
    screen = Screen(is_serving=True)
    with StopSignals() as signals:
        point = point_of(composed, screen.say)
        folder = RunFolder.create(composed.config.output_dir)
        write_json(folder.point, point.record())
        config_dirs = [str(Path(folder).absolute()) for folder in composed.config_dirs]
        launcher = start_background("mixvllm.cli.background", [str(folder.path), *config_dirs], folder.supervisor_log)
        try:
            _follow(folder, launcher, signals, screen)
        finally:
            screen.close()
        if signals.exit_code is None:
            screen.show_endpoint(folder, composed.config)
        return signals.exit_code or 0


def _follow(folder: RunFolder, launcher: ProcessId, signals: StopSignals, screen: Screen) -> None:
    """Show the run until it is ready or has ended; a stop that is asked for meanwhile is passed on.

    Raises:
        ServerFailed: it ended.
    """
    events = NewEvents(folder)
    num_passed_on = 0
    while True:
        is_over = not is_alive(launcher)
        for event in events.new():
            screen(event)
            if event.name == "ready" and not signals.is_requested():
                return
        if is_over:
            if signals.is_requested():
                return
            raise ServerFailed(_end(folder))
        wanted = signals.is_requested() + signals.is_forced()
        if num_passed_on < wanted:
            send_signal(launcher, signal.SIGTERM)
            num_passed_on += 1
        time.sleep(_TICK_S)


def _end(folder: RunFolder) -> str:
    """Return why the run ended, in the words that a run in the foreground has."""
    result = read_json(folder.result) or {}
    if result.get("cause"):
        return str(result["cause"])
    lines = "\n".join(f"    {line}" for line in tail(folder.supervisor_log))
    return f"the launcher in the background ended\n  log: {folder.supervisor_log} (its end follows)\n{lines}"


class NewEvents:
    """Gives the events of a run as they are written."""

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.events
        self._offset = 0

    def new(self) -> Iterator[Event]:
        """Yield the events that were written since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                yield _event(json.loads(line))


def _event(line: dict[str, Any]) -> Event:
    fields = {name: value for name, value in line.items() if name not in ("time", "event", "elapsed_s", "attempt")}
    return Event(line["event"], line["elapsed_s"], fields)
