"""The preflight of a sweep: what this machine lacks for any of its servers, before the first one is started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from mixvllm.cli.preflight import checks_for
from mixvllm.cli.preflight_table import print_table
from mixvllm.errors import PreflightFailed
from mixvllm.machine.preflight import Check
from mixvllm.sweep.point import Point, load_point
from mixvllm.sweep.slots import Slots
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.work import Work

_MAX_SHOWN = 10

Findings = dict[str, list[Check]]
"""The errors of servers that must not be started, by server key."""


def look_at_groups(works: Sequence[Work], folder: SweepFolder, slots: Slots) -> Findings:
    """Look at what this machine lacks for the servers of `works`, and show what is found, each finding once.

    Returns:
        Those that must fail, where `preflight` is strict.
    """
    shown: dict[Check, None] = {}
    refused: Findings = {}
    for work in works:
        point = load_point(folder.point(work.repeats[0][0]))
        if point.config.preflight == "off":
            continue
        checks = _checks(point, slots)
        shown |= dict.fromkeys(check for check in checks if check.verdict != "ok")
        errors = [check for check in checks if check.verdict == "error"]
        if errors and point.config.preflight == "strict":
            refused[work.server_key] = errors
    if shown:
        print_table(list(shown), sys.stderr)
    return refused


def _checks(point: Point, slots: Slots) -> list[Check]:
    gpus = slots.gpus[: point.num_gpus]
    command = point.command
    if gpus:
        environment = {**command.environment, "CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        command = replace(command, environment=environment)
    return checks_for(point.config, point.installation, command)


def refusal(works: Sequence[Work], refused: Findings) -> PreflightFailed:
    """Return the error that nothing is started, which says what is wrong, and of which points."""
    numbers = {work.server_key: work.number for work in works}
    points: dict[Check, list[int]] = {}
    for key, checks in refused.items():
        for check in checks:
            points.setdefault(check, []).append(numbers[key])
    lines = [
        f"  {check.subject}: {check.finding} [{_which(of)}]\n    next: {check.mend}" for check, of in points.items()
    ]
    ways = "preflight=warn goes on all the same, sweep.skip_infeasible=true with the others"
    return PreflightFailed("\n".join([f"this machine cannot run {len(refused)} of the servers", *lines, f"  {ways}"]))


def _which(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:_MAX_SHOWN]))
    more = f" and {len(numbers) - _MAX_SHOWN} more" if len(numbers) > _MAX_SHOWN else ""
    return f"servers of point{'s' if len(numbers) > 1 else ''} {listed}{more}"
