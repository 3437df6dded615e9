"""What it costs to plan a sweep of a thousand points: each composed, validated, frozen, and written as `point.json`.

1. Wall time of the whole plan, imports included, against Hydra's own sweeper and launcher (`hydra/launcher=basic`) with
   a task that does nothing, over a grid of the same axes: Hydra composes each point anew, twice, and validates nothing.
   It is measured at 42 points less 2, and scaled.
2. Peak memory of the planning process for 10 and for 5,000 points.

Everything runs on one core. Run it from the root of a checkout: python -m benchmarks.plan [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._peer import ROOT, write_application
from benchmarks._report import Pairs, Series, measure_pairs, progress, report
from benchmarks._session import output_of
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.plan_record import write_plan
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.sweep_folder import SweepFolder

MAX_PLAN_S = 10.0
MAX_GROWTH_MIB = 100.0

_NUM_POINTS = 1000
_FEW, _MANY = 10, 5000
_HYDRAS = 42, 2
_TIMEOUT_S = 600.0


def grid(num_points: int) -> list[str]:
    """Return overrides that span `num_points`, an even number: models, a key of the server, one of the workload."""
    half = num_points // 2
    num_prompts = next(number for number in (10, 5, 3, 1) if half % number == 0)
    prompts = ",".join(f"prompt{number}" for number in range(num_prompts))
    return [
        "workload=probe",
        "model=demo,qwen3_8b",
        f"inference.max_num_seqs=range(1,{half // num_prompts + 1})",
        f"workload.prompt={prompts if num_prompts > 1 else 'prompt'}",
    ]


def plan_here(num_points: int, folder: Path) -> None:
    """Plan and write in this process, and print what it took."""
    began = time.perf_counter()
    with Draft() as draft:
        plan = make_plan([*grid(num_points), f"output_dir={folder}"], draft=draft)
        plan.check()
        target = SweepFolder.create(plan.output_dir, None)
        with target.locked():
            num_written = write_plan(plan, draft, target, sys.argv)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"points": num_written, "plan_s": time.perf_counter() - began, "peak_mib": peak_mib}))


def plan(num_points: int) -> dict[str, Any]:
    """Return what a plan took in a process of its own, `wall_s` from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="mixvllm-plan-") as name:
        command = [sys.executable, "-m", "benchmarks.plan", "--points", str(num_points), "--folder", name]
        began = time.perf_counter()
        output = output_of(command, ROOT, _TIMEOUT_S)
        wall_s = time.perf_counter() - began
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    if found["points"] != num_points:
        raise SystemExit(f"{found['points']} of {num_points} points were written")
    return {**found, "wall_s": wall_s}


def hydra_s() -> float:
    """Return the seconds that Hydra's sweeper and launcher would take for `_NUM_POINTS`."""
    more, fewer = (_hydra_wall_s(number) for number in _HYDRAS)
    return (more - fewer) / (_HYDRAS[0] - _HYDRAS[1]) * _NUM_POINTS


def _hydra_wall_s(num_points: int) -> float:
    with tempfile.TemporaryDirectory(prefix="mixvllm-plan-") as name:
        application = write_application(Path(name))
        command = [sys.executable, str(application), "--multirun", f"hydra.sweep.dir={name}/out", *grid(num_points)]
        began = time.perf_counter()
        output_of(command, Path(name), _TIMEOUT_S)
        return time.perf_counter() - began


def main() -> int:
    """Measure on one core, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs")
    parser.add_argument("--points", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.points:
        plan_here(arguments.points, arguments.folder)
        return 0
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    num_pairs = 1 if arguments.quick else 5
    hydras, ours = measure_pairs(
        num_pairs,
        hydra_s,
        lambda: plan(_NUM_POINTS),
        lambda index, a, b: progress(f"pair {index} of {num_pairs}: Hydra {a:.0f} s, mixvllm {b['wall_s']:.1f} s"),
    )
    few, many = ([plan(number)["peak_mib"] for _ in range(num_pairs)] for number in (_FEW, _MANY))
    walls = [one["wall_s"] for one in ours]
    rows: list[Pairs | Series] = [
        Series("plan of 1,000 points, s", walls, MAX_PLAN_S),
        Series("  without imports, s", [one["plan_s"] for one in ours]),
        Pairs("beside Hydra's launcher, s", hydras, walls),
        Series("peak memory, 10 points, MiB", few),
        Series("peak, 5,000 points, MiB", many),
        Series("  growth, MiB", [b - a for a, b in zip(few, many, strict=True)], MAX_GROWTH_MIB),
    ]
    return report("plan", "points planned, validated, frozen and written, beside Hydra's launcher doing nothing", rows)


if __name__ == "__main__":
    sys.exit(main())
