"""What it costs to submit a sweep of 500 points to Slurm, beside `hydra/launcher=submitit_slurm`.

Time from the start of the command to the end of its last `sbatch`, of the same grid, on the same cluster: a real Slurm
on this machine whose nodes are drained, so that no job runs. A program of the same name on PATH notes each `sbatch`.
The peer is Hydra's own launcher for Slurm (hydra-submitit-launcher) with a task that does nothing: it composes every
point before it submits, and again in each job; it submits one array, with a job for each point. mixvllm composes,
validates and freezes every point, and submits a job for each server, in an array for each shape of jobs.

Run it from the root of a checkout: python -m benchmarks.submit [--quick]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks._peer import ROOT, write_application
from benchmarks._report import Pairs, Series, measure_pairs, progress, report
from benchmarks.plan import grid
from tests.slurm.cluster import Cluster, missing_packages
from tests.slurm.configuration import Options

MAX_RATIO = 1 / 20

_NUM_POINTS = 500
_ARRAY_SIZES = 1001, 11  # Slurm's default; and one that takes several arrays for a shape
_TIMEOUT_S = 600.0
_TICK_S = 0.05
_RESOURCE = re.compile(r"^#SBATCH --(?:nodes|gpus-per-node|gres|cpus-per-task|mem|time)=.*$", re.MULTILINE)
_ELEMENTS = re.compile(r"^#SBATCH --array=0-(\d+)", re.MULTILINE)

_SBATCH = """\
#!/bin/bash
{sbatch} "$@"
status=$?
echo "$EPOCHREALTIME" >> {calls}
exit $status
"""


@dataclass(frozen=True)
class Submitted:
    """What a submission took.

    Args:
        last_s: seconds from the start of the command to the end of its last sbatch.
        num_calls: of sbatch.
        num_jobs: that Slurm has then.
        num_needed: calls that the shapes of the jobs and the limit of the cluster take; None for the peer.
    """

    last_s: float
    num_calls: int
    num_jobs: int
    num_needed: int | None = None


class Bench:
    """Submits sweeps to a cluster that runs none of them.

    Args:
        cluster: whose nodes are drained.
        folder: for all that is written.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._calls = folder / "calls"
        programs = folder / "bin"
        programs.mkdir()
        wrapper = programs / "sbatch"
        wrapper.write_text(_SBATCH.format(sbatch=shutil.which("sbatch"), calls=self._calls), encoding="utf-8")
        wrapper.chmod(0o700)
        own = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "MIXVLLM_CACHE": str(folder / "cache")}
        self._environment = cluster.environment | own

    def peer(self) -> Submitted:
        """Submit by Hydra's launcher, which waits for its jobs then, and is ended."""
        application = write_application(self._folder)
        sweep_dir = tempfile.mkdtemp(prefix="peer-", dir=self._folder)
        command = [sys.executable, str(application), "--multirun", "hydra/launcher=submitit_slurm"]
        return self._submit([*command, f"hydra.sweep.dir={sweep_dir}", *grid(_NUM_POINTS)], _NUM_POINTS)

    def ours(self, max_array_size: int = _ARRAY_SIZES[0]) -> Submitted:
        """Submit by mixvllm, which ends then.

        Args:
            max_array_size: of the cluster.
        """
        output_dir = Path(tempfile.mkdtemp(prefix="ours-", dir=self._folder))
        command = [sys.executable, str(ROOT / "launch.py"), "--multirun", "hydra/launcher=slurm"]
        own = ["hydra.launcher.wait=false", f"output_dir={output_dir}"]
        done = self._submit([*command, *own, *grid(_NUM_POINTS)], None)
        scripts = [file.read_text(encoding="utf-8") for file in output_dir.glob("sweeps/*/slurm/*/script.sh")]
        by_shape: Counter[tuple[str, ...]] = Counter()
        for script in scripts:
            last = _ELEMENTS.search(script)
            by_shape[tuple(sorted(_RESOURCE.findall(script)))] += 1 + int(last[1]) if last else 1
        needed = sum(ceil(number / max_array_size) for number in by_shape.values())
        return Submitted(done.last_s, done.num_calls, done.num_jobs, needed)

    def _submit(self, command: list[str], num_jobs: int | None) -> Submitted:
        """Run a command until it ends, or until Slurm has so many jobs; then cancel them."""
        self._calls.unlink(missing_ok=True)
        log = self._folder / "log"
        began = time.time()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while process.poll() is None and (num_jobs is None or not self._calls.exists()):
                if time.time() - began > _TIMEOUT_S:
                    raise SystemExit(f"nothing was submitted in {_TIMEOUT_S:g} s:\n{_end_of(log)}")
                time.sleep(_TICK_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        stamps = [float(line) for line in self._calls.read_text().split()] if self._calls.exists() else []
        found = len(self._cluster.run("squeue", "-h", "-r", "-o", "%i").split())
        self._cluster.cancel_all()
        if not stamps or found < (num_jobs or 1):
            raise SystemExit(f"{found} jobs were submitted:\n{_end_of(log)}")
        return Submitted(stamps[-1] - began, len(stamps), found)


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _measure(num_pairs: int) -> int:
    with Cluster() as cluster, tempfile.TemporaryDirectory(prefix="mixvllm-submit-") as name:
        for node in cluster.options.nodes:
            cluster.drain(node)
        bench = Bench(cluster, Path(name))
        peers, ours = measure_pairs(
            num_pairs,
            bench.peer,
            bench.ours,
            lambda index, a, b: progress(
                f"pair {index} of {num_pairs}: submitit_slurm {a.last_s:.1f} s for {a.num_jobs} jobs, "
                f"mixvllm {b.last_s:.2f} s for {b.num_jobs}"
            ),
        )
    with (
        Cluster(Options(max_array_size=_ARRAY_SIZES[1])) as cluster,
        tempfile.TemporaryDirectory(prefix="mixvllm-submit-") as name,
    ):
        for node in cluster.options.nodes:
            cluster.drain(node)
        small = Bench(cluster, Path(name)).ours(_ARRAY_SIZES[1])
    calls = [*ours, small]
    rows: list[Pairs | Series] = [
        Pairs("to the last sbatch, s", [one.last_s for one in peers], [one.last_s for one in ours], MAX_RATIO),
        Pairs("jobs", [one.num_jobs for one in peers], [one.num_jobs for one in ours]),
        Pairs("calls of sbatch", [one.num_calls for one in peers], [one.num_calls for one in ours]),
        Series(f"calls, arrays of {_ARRAY_SIZES[1]}", [small.num_calls]),
        Series("calls over shapes x arrays", [one.num_calls - (one.num_needed or 0) for one in calls], 0),
    ]
    return report("submit", f"{_NUM_POINTS} points submitted, beside hydra/launcher=submitit_slurm", rows)


def main() -> int:
    """Measure, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one pair instead of three: shows that it works")
    arguments = parser.parse_args()
    if missing := missing_packages():
        progress(f"submit: not measured; needs Slurm: apt-get install --no-install-recommends {' '.join(missing)}")
        return 0
    return _measure(1 if arguments.quick else 3)


if __name__ == "__main__":
    sys.exit(main())
