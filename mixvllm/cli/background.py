"""The program of a launcher in the background: `python -m mixvllm.cli.background RUN_FOLDER [CONFIG_DIR…]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mixvllm.cli.exits import exit_code_of
from mixvllm.cli.points import recomposer
from mixvllm.cli.screen import Screen
from mixvllm.runs.folder import RunFolder
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.point import load_point
from mixvllm.sweep.runner import run_point


def run_in_background(path: str, config_dirs: Sequence[str]) -> int:
    """Run the frozen point in the run folder at `path`; return 0, or 128 + n where signal n stopped it.

    Raises:
        MixvllmError: it failed.
    """
    folder = RunFolder(Path(path))
    screen = Screen(is_serving=False, is_terminal=False)
    with StopSignals(hangup_reloads=True) as signals:
        point = load_point(folder.point)
        outcome = run_point(point, folder, signals, screen, recomposer(config_dirs, screen.say))
        if outcome.error is not None:
            raise outcome.error
        return signals.exit_code or 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: run_in_background(sys.argv[1], sys.argv[2:])))
