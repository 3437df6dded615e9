"""`mixvllm track`: sweeps and runs for MLflow or Weights & Biases."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mixvllm.cli.exits import EXIT_OK
from mixvllm.report.read import read_studies
from mixvllm.report.track import Target, track, trackers


def track_results(paths: Sequence[str], names: Sequence[str], target: Target) -> int:
    """Tell the trackers `names` of the sweeps and runs in `paths`; return the exit code.

    Raises:
        ConfigError: nothing is there, or a tracker is not known, or not installed.
        TrackerFailed: a tracker did not take them.
    """
    known = trackers(names)
    study = read_studies(paths)
    for remark in study.remarks:
        _say(f"note: {remark}")
    for name in known:
        told = track(study, name, target, _say)
        sys.stdout.write(f"{name}: {told.words}\n")
        sys.stdout.flush()
    return EXIT_OK


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
