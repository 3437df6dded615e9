"""`mixvllm track`: sweeps and runs for MLflow or Weights & Biases."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.terminal import remark
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
    for line in study.remarks:
        remark(f"note: {line}")
    for name in known:
        told = track(study, name, target, remark)
        sys.stdout.write(f"{name}: {told.words}\n")
        sys.stdout.flush()
    return EXIT_OK
