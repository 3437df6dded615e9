"""One run in a job of a Slurm cluster: frozen here, submitted, shown until it serves, or has ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixvllm.cli.detach import NewEvents
from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.job_watch import JobWatch
from mixvllm.cli.screen import Screen
from mixvllm.cli.slurm_screen import summary
from mixvllm.cluster.array_folder import Element
from mixvllm.cluster.dry_run import dry_run_lines
from mixvllm.cluster.follow import JobState, SubmittedJob
from mixvllm.cluster.shape import shape_of_record
from mixvllm.cluster.submit import submit_jobs
from mixvllm.config.load import Composed
from mixvllm.config.load.launcher import slurm_launcher
from mixvllm.config.schema import ExperimentConfig
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import read_json
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.point import freeze
from mixvllm.vllm.installation import installation_of


def run_submitted(composed: Composed, launcher: Sequence[str]) -> int:
    """Submit what was composed; return 0 where it went well, or is submitted and nobody waits for it.

    1: it failed. 128 + n where signal n had it leave the job to itself.

    Args:
        composed: one run.
        launcher: overrides that say how it is submitted.

    Raises:
        ConfigError: the configuration is wrong; nothing was submitted.
        MixvllmError: Slurm does not answer, or refused the job.
    """
    config, screen = composed.config, Screen(is_serving=composed.config.workload.kind == "serve")
    options = slurm_launcher(launcher, composed.config_dirs)
    with composed.naming_origins():
        point = freeze(config, composed.overrides, installation_of(config, screen.say), screen.say)
    record = point.record()
    num_repeats = config.workload.repeats if config.workload.is_measured else 1
    jobs = [(shape_of_record(record, options, os.environ, num_repeats=num_repeats), Element())]
    if config.dry_run:
        place = Path(config.output_dir).absolute() / "DATE" / "TIME"
        sys.stdout.write("\n".join(dry_run_lines(place, jobs, options, "TIME")).lstrip() + "\n")
        return EXIT_OK
    folder = RunFolder.create(config.output_dir)
    write_json(folder.point, record)
    with StopSignals() as signals:  # one that comes meanwhile leaves no job that nobody knows
        submitted = submit_jobs(folder.path, jobs, options, folder.name, screen.say)
        if options.wait and not config.detach:
            return _wait(folder, submitted, config, screen, signals)
    sys.stdout.write(f"{submitted[0].array_id}\n")
    screen.say(f"to follow: mixvllm wait {folder.name}; to cancel: mixvllm stop {folder.name}")
    return EXIT_OK


class _JobLines:
    """Shows the job while it waits, and the run as soon as there is one."""

    def __init__(self, folder: RunFolder, config: ExperimentConfig, screen: Screen) -> None:
        self._folder = folder
        self._config = config
        self._screen = screen
        self._events = NewEvents(folder)
        self._shown = ""

    def say(self, line: str) -> None:
        """Take a line for the user."""
        self._screen.close()
        self._screen.say(line)

    def show_jobs(self, states: Sequence[JobState]) -> None:
        """Take the state of the job."""
        words = summary(states)
        if words != self._shown:
            self.say(words)
        self._shown = words
        for event in self._events.new():
            self._screen(event)
            if event.name == "ready" and self._config.workload.kind == "serve":
                self._screen.show_endpoint(self._folder, self._config)

    def take(self, event: dict[str, Any]) -> None:
        """Take what the job tells."""
        if event["event"] == "remark":
            self.say(str(event["text"]))


def _wait(
    folder: RunFolder, jobs: Sequence[SubmittedJob], config: ExperimentConfig, screen: Screen, signals: StopSignals
) -> int:
    lines = _JobLines(folder, config, screen)
    try:
        JobWatch(jobs, lines, signals, lines.take).until_ended()
    finally:
        screen.close()
    if signals.exit_code is not None:
        screen.say(f"to follow: mixvllm wait {folder.name}, mixvllm logs -f {folder.name}")
        return signals.exit_code
    return _show_end(folder, config, jobs, screen)


def _show_end(folder: RunFolder, config: ExperimentConfig, jobs: Sequence[SubmittedJob], screen: Screen) -> int:
    result = read_json(folder.result) or {}
    if result.get("status") == "ok":
        screen.show_figures(config.workload, result["figures"])
        return EXIT_OK
    record = read_json(jobs[0].folder.job(0)) or {}
    screen.say(f"the job ended: {record.get('state', 'unknown')}\n  log: {jobs[0].log}")
    return EXIT_FAILED
