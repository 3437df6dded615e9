"""One run in a job of its own: its server and its workload, as in the foreground, with its records in its folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mixvllm.cluster.job import ThisJob
from mixvllm.cluster.place import slot_for
from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import MixvllmError
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event, Journal, tell_end
from mixvllm.runs.records import read_json
from mixvllm.server.server import Server
from mixvllm.server.signals import StopSignals
from mixvllm.server.start import run_facts
from mixvllm.sweep.point import load_point
from mixvllm.sweep.runner import run_point


@dataclass(frozen=True)
class _View:
    """Passes on what a user should read; events are in the run's own journal."""

    say: Callable[[str], None]

    def __call__(self, event: Event) -> None:
        pass

    def show_ready(self, server: Server) -> None:
        self.say(f"ready: {server.model_name} at {server.url}/v1")


def run_alone(folder: RunFolder, job: ThisJob, signals: StopSignals, say: Callable[[str], None]) -> bool:
    """Do the run that is frozen in `folder`; return whether nothing failed.

    An earlier start of this job may have done it.

    Args:
        job: that this process is.
        signals: ask for a stop.
        say: takes what a user should read.
    """
    if (read_json(folder.result) or {}).get("status") == "ok":
        return True
    try:
        point = load_point(folder.point)
        slot = slot_for(point, job, say)
    except MixvllmError as error:
        if not signals.is_coming():
            tell_end([Journal(folder, _facts(folder))], error)
        say(f"error: {error}")
        return False
    os.environ.update(slot.environment(point.config.server.env, os.environ))
    outcome = run_point(point, folder, signals, _View(say))
    if outcome.error is not None:
        say(f"error: {outcome.error}")
    return outcome.error is None


def _facts(folder: RunFolder) -> dict[str, Any]:
    return run_facts(ExperimentConfig.model_validate((read_json(folder.point) or {})["config"]))
