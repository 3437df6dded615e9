"""Plans and records for tests, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixvllm.runs.files import write_json
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.plan_record import write_plan
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.vllm.describe import CLI_MODULE
from mixvllm.vllm.installation import Installation

INSTALLATION = Installation("/opt/vllm/bin/python", "0.32.0", "vllm", CLI_MODULE)
BASE = ("workload=probe", "model=default", "model.name=some/model")


def plan_of(*overrides: str, draft: Draft | None = None) -> Plan:
    """Return the plan of a grid over a small model, for a vLLM that is nowhere."""
    return make_plan([*BASE, *overrides], draft=draft, find=lambda _config: INSTALLATION)


def planned_folder(output_dir: Path, *overrides: str, name: str = "mine") -> tuple[Plan, SweepFolder]:
    """Return a plan that is written, and its folder."""
    with Draft() as draft:
        plan = plan_of(*overrides, draft=draft)
        folder = SweepFolder.create(output_dir, name)
        with folder.locked():
            write_plan(plan, draft, folder, ["launch.py", "--multirun", *overrides])
    return plan, folder


def write_repeat(
    folder: SweepFolder, point: str, repeat: int, metrics: Mapping[str, Any] | None = None, **changes: Any
) -> None:
    """Record a repeat of a point, as the one who measures does."""
    record = {
        "schema": 1,
        "point": point,
        "repeat": repeat,
        "seed": 100 + repeat,
        "verdict": "ok",
        "reason": None,
        "metrics": dict(metrics or {}),
        "server_metrics": {},
        "start": {"kind": "cold", "ready_s": 20.5},
        "began_at": "2026-01-02T03:04:05.678+00:00",
        "duration_s": 12.25,
        "versions": {"vllm": "0.32.0"},
        "server_run": "03-04-00-abcdef",
    }
    write_json(folder.repeat(point, repeat), {**record, **changes})
