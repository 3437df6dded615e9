"""What a sweep costs beside vLLM's own: the same servers, loads and repeats, on the demo model and the CPU engine.

1. Wall time of `mixvllm launch --multirun`, from its start to its end, against `vllm bench sweep serve`. Both start
   each server once and measure all loads on it; ours imports the load generator once, and not for each repeat.
2. Output tokens per second of each point, its mean over the repeats, beside that of the same point of the other one:
   what is quicker must not measure something else.

`vllm bench sweep serve` writes its table with pandas at its very end; where that is missing, it fails when all is
measured, and its own records are read. Run it from the root of a checkout: python -m benchmarks.sweep [--quick]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks._report import Pairs, measure_pairs, progress, report
from benchmarks._session import BenchmarkFailed
from mixvllm import ExperimentConfig, compose, demo
from mixvllm.machine.folders import cache_folder
from mixvllm.machine.ports import lease_port
from mixvllm.server.command import server_command
from mixvllm.server.log import tail
from mixvllm.server.processes import ProcessId, ProcessTree, identify
from mixvllm.vllm.installation import find_installation
from mixvllm.workload.bench.command import build_bench_command

MAX_RATIO = 0.35

_MODEL = ["model=demo", "inference=cpu", "inference.kv_cache_memory_bytes=64M", "preflight=off"]
_LOAD = ["workload=bench", "workload.num_prompts=20", "workload.random_output_len=16", "generation=greedy"]
_TIMEOUT_S = 3600.0
_TICK_S = 0.2

Point = tuple[int, int, int]
"""max_num_seqs, max_concurrency, random_input_len."""


@dataclass(frozen=True)
class Grid:
    """What is measured.

    Args:
        max_num_seqs: one server each.
        max_concurrency: of the loads.
        random_input_len: of the loads, tokens.
        repeats: of each point.
    """

    max_num_seqs: tuple[int, ...]
    max_concurrency: tuple[int, ...]
    random_input_len: tuple[int, ...]
    repeats: int

    @property
    def loads(self) -> list[dict[str, int]]:
        """As vLLM takes them, shape (n,)."""
        pairs = product(self.max_concurrency, self.random_input_len)
        return [{"max_concurrency": concurrency, "random_input_len": length} for concurrency, length in pairs]

    @property
    def overrides(self) -> list[str]:
        """As mixvllm takes them."""
        return [
            f"inference.max_num_seqs={_listed(self.max_num_seqs)}",
            f"workload.max_concurrency={_listed(self.max_concurrency)}",
            f"workload.random_input_len={_listed(self.random_input_len)}",
            f"workload.repeats={self.repeats}",
        ]

    @property
    def num_repeats(self) -> int:
        """Of all points together."""
        return len(self.max_num_seqs) * len(self.loads) * self.repeats


WHOLE = Grid((4, 8), (1, 2, 4), (32, 128), 3)
QUICK = Grid((4,), (1, 4), (32,), 1)


@dataclass(frozen=True)
class Swept:
    """What a sweep took, and found.

    Args:
        wall_s: from start to end.
        throughputs: output tokens per second of each repeat of each point.
    """

    wall_s: float
    throughputs: Mapping[Point, Sequence[float]]

    def means(self, grid: Grid) -> list[float]:
        """Return the mean of each point, in one order."""
        points = product(grid.max_num_seqs, grid.max_concurrency, grid.random_input_len)
        found = [self.throughputs[point] for point in points]
        if any(len(values) != grid.repeats for values in found):
            raise BenchmarkFailed("a repeat is missing")
        return [statistics.mean(values) for values in found]


def ours(grid: Grid) -> Swept:
    """Return what the sweep takes with mixvllm."""
    with tempfile.TemporaryDirectory(prefix="mixvllm-sweep-") as name:
        program = [sys.executable, "-m", "mixvllm.cli.app", "launch", "--multirun"]
        command = [*program, *_MODEL, *_LOAD, *grid.overrides, "sweep.name=ours", "output_dir=outputs"]
        wall_s, _ = run(command, Path(name), os.environ)
        with Path(name, "outputs/sweeps/ours/results.csv").open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["row"] == "repeat"]
    keys = ("inference.max_num_seqs", "workload.max_concurrency", "workload.random_input_len")
    swept = [key for key in keys if key in rows[0]]
    usual = dict(zip(keys, (grid.max_num_seqs[0], grid.max_concurrency[0], grid.random_input_len[0]), strict=True))
    found: dict[Point, list[float]] = defaultdict(list)
    for row in rows:
        if row["verdict"] != "ok":
            raise BenchmarkFailed(f"{row['verdict']}: {row['reason']}")
        seqs, concurrency, length = (int(row[key]) if key in swept else usual[key] for key in keys)
        found[seqs, concurrency, length].append(float(row["output_tokens_per_s"]))
    return Swept(wall_s, found)


def theirs(grid: Grid) -> Swept:
    """Return what the same sweep takes with `vllm bench sweep serve`."""
    with tempfile.TemporaryDirectory(prefix="mixvllm-sweep-") as name:
        folder = Path(name)
        command, environment = peer_command(grid, folder)
        wall_s, status = run(command, folder, environment)
        records = [one for file in folder.glob("results/**/summary.json") for one in json.loads(file.read_text())]
        if len(records) != grid.num_repeats:
            raise BenchmarkFailed("\n    ".join([f"exit status {status}", *tail(folder / "log")]))
    found: dict[Point, list[float]] = defaultdict(list)
    for one in records:
        if one["completed"] != one["num_prompts"]:
            raise BenchmarkFailed(f"{one['completed']} of {one['num_prompts']} requests were answered")
        found[one["max_num_seqs"], one["max_concurrency"], one["random_input_len"]].append(one["output_throughput"])
    return Swept(wall_s, found)


def peer_command(grid: Grid, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command of `vllm bench sweep serve` for `grid`, and its environment; its files are in `folder`."""
    config = compose([*_MODEL, *_LOAD, f"workload.random_input_len={grid.random_input_len[0]}"])
    if not isinstance(config, ExperimentConfig):
        raise TypeError("a whole configuration was composed")
    installation = find_installation(config.server.python)
    lease = lease_port(config.server.host, "auto")
    lease.release()  # vLLM takes it in a moment
    server = server_command(config, installation, port=lease.port)
    # The caches are reset only where the program is called so.
    program = str(Path(installation.python).with_name("vllm"))
    url = f"http://{config.server.host}:{lease.port}"
    bench = build_bench_command(config, url=url, tokenizer=config.model.name, repeat=0, result=folder / "none")
    serve_params, bench_params = folder / "serve.json", folder / "bench.json"
    serve_params.write_text(json.dumps([{"max_num_seqs": number} for number in grid.max_num_seqs]), encoding="utf-8")
    bench_params.write_text(json.dumps(grid.loads), encoding="utf-8")
    command = [
        *(program, "bench", "sweep", "serve"),
        *("--serve-cmd", shlex.join([program, *server.argv[server.argv.index("serve") :]])),
        *("--bench-cmd", shlex.join([program, "bench", "serve", *bench])),
        *("--serve-params", str(serve_params), "--bench-params", str(bench_params)),
        *("--num-runs", str(grid.repeats), "--output-dir", str(folder / "results")),
        *("--server-ready-timeout", "1200"),
    ]
    return command, {**os.environ, **server.environment}


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, int]:
    """Run a program to its end, its output in `folder/log`; return its seconds and its exit status."""
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    tree = ProcessTree(identify(process.pid) or ProcessId(process.pid, 0))
    try:
        while process.poll() is None:
            tree.refresh()
            if time.monotonic() - began > _TIMEOUT_S:
                raise BenchmarkFailed("\n    ".join([f"not done in {_TIMEOUT_S:g} s", *tail(folder / "log")]))
            time.sleep(_TICK_S)
        return time.monotonic() - began, process.returncode
    finally:
        tree.kill()
        process.wait()


def _listed(numbers: Sequence[Any]) -> str:
    return ",".join(map(str, numbers))


def main() -> int:
    """Measure, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one server, two loads, one repeat")
    parser.add_argument("--pairs", type=int, default=1, help="how often both are run")
    arguments = parser.parse_args()
    grid = QUICK if arguments.quick else WHOLE
    demo.ensure_demo_model(cache_folder() / demo.FOLDER, find_installation(None).python, progress)
    peers, own = measure_pairs(
        arguments.pairs,
        lambda: theirs(grid),
        lambda: ours(grid),
        lambda index, a, b: progress(f"pair {index}: vLLM {a.wall_s:.0f} s, mixvllm {b.wall_s:.0f} s"),
    )
    limit = None if arguments.quick else MAX_RATIO
    rows = [
        Pairs("wall time, s", [one.wall_s for one in peers], [one.wall_s for one in own], limit),
        Pairs(
            "output tokens/s per point",
            [mean for one in peers for mean in one.means(grid)],
            [mean for one in own for mean in one.means(grid)],
        ),
    ]
    servers, loads = len(grid.max_num_seqs), len(grid.loads)
    what = f"{servers} servers x {loads} loads x {grid.repeats} repeats, beside vllm bench sweep serve"
    return report("sweep", what, rows)


if __name__ == "__main__":
    sys.exit(main())
