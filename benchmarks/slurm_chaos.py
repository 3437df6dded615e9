"""Disturbs a sweep on a real Slurm at random moments, resumes it, and looks at what came of it.

Jobs are cancelled (`scancel`), nodes die with all that runs on them and come back, jobs are preempted by others of a
higher priority, each as often and in random order, while a sweep of the fake vLLM of the tests runs over four servers
on two nodes. A sweep whose jobs were cancelled is resumed. In the end every repeat of every point must have a good
result, and no process of a job may be left on any node.

What is drawn follows from the seed alone; it is printed, and `--seed` draws it again.

Run it from the root of a checkout: python -m benchmarks.slurm_chaos [--faults 50] [--seed N] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks._report import describe_machine, progress
from tests.slurm.chaos import DisturbedSweep, draw
from tests.slurm.cluster import Cluster, missing_packages


def main() -> int:
    """Disturb, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=50, help="how many, some seconds each")
    parser.add_argument("--seed", type=int, help="draws the same again")
    parser.add_argument("--quick", action="store_true", help="6 of them: shows that it works")
    arguments = parser.parse_args()
    if missing := missing_packages():
        progress(f"slurm_chaos: not done; needs Slurm: apt-get install --no-install-recommends {' '.join(missing)}")
        return 0
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    return disturb(seed, 6 if arguments.quick else arguments.faults)


def disturb(seed: int, num_faults: int) -> int:
    """Have faults happen, print the report and, as the last line, the figures as JSON; return 0 where all is well."""
    progress(f"slurm_chaos: seed {seed}")
    faults = draw(seed, num_faults)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mixvllm-chaos-") as name, Cluster() as cluster:
        os.environ.update(cluster.environment, MIXVLLM_CACHE=f"{name}/cache")  # its jobs are no business of others
        sweep = DisturbedSweep(cluster, Path(name, "sweeping"), progress)
        wrong = sweep.suffer(faults)
    machine = describe_machine()
    counts = Counter(fault.kind for fault in faults)
    print(f"slurm_chaos: {num_faults} faults in {time.monotonic() - began:.0f} s, seed {seed}")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    print(", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())))
    print(f"{sweep.num_measured} repeats, {sweep.num_launches - 1} times resumed, {len(wrong)} faults of ours")
    for line in wrong:
        print(f"WRONG: {line}")
    print()
    record = {
        "benchmark": "slurm_chaos",
        "machine": machine,
        "seed": seed,
        "num_faults": num_faults,
        "num_repeats": sweep.num_measured,
        "num_resumed": sweep.num_launches - 1,
        "wrong": wrong,
        "ok": not wrong,
    }
    print(json.dumps(record))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
