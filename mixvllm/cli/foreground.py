"""A run in the foreground: one point, shown while it happens, stopped by signals."""

from __future__ import annotations

from mixvllm.cli.points import point_of, recomposer
from mixvllm.cli.screen import Screen
from mixvllm.config.load import Composed
from mixvllm.runs.folder import RunFolder
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.runner import run_point


def run_in_foreground(composed: Composed) -> int:
    """Run what was composed and return the exit code: 0, or 128 + n where signal n stopped it.

    Raises:
        MixvllmError: it failed.
    """
    config = composed.config
    screen = Screen(is_serving=config.workload.kind == "serve")
    with StopSignals() as signals:
        point = point_of(composed, screen.say)
        folder = RunFolder.create(config.output_dir)
        try:
            outcome = run_point(point, folder, signals, screen, recomposer(composed.config_dirs, screen.say))
        finally:
            screen.close()
        if outcome.error is not None:
            raise outcome.error
        if outcome.status == "ok" or config.workload.is_measured:
            screen.show_figures(config.workload, outcome.figures)
        return signals.exit_code or 0
