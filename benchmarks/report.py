"""What it costs to look at a sweep of 5,000 points.

1. `mixvllm report`: wall time, imports included, peak memory, size of the page. Each point has three repeats of thirty
   metrics; a hundred servers have two hundred samples each.
2. The page in Chromium without windows and without a GPU: from the call to the page that can be used, and until its
   four groups of charts are drawn; then a filter of the table, and another metric for all points.

Needs plotly and playwright; the second part needs Chromium on the PATH, and is left out without it.
Run it from the root of a checkout: python -m benchmarks.report [--quick]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._peer import ROOT
from benchmarks._report import Series, progress, report
from tests.report.written_sweeps import write_sweep

MAX_WRITE_S = 10.0
MAX_PEAK_MIB = 300.0
MAX_OPEN_S = 3.0
MAX_SIZE_MB = 15.0

_GRID: dict[str, list[Any]] = {
    "inference.max_num_seqs": [8 * number for number in range(1, 26)],
    "inference.tensor_parallel_size": [1, 2, 4, 8],
    "workload.max_concurrency": list(range(1, 51)),
}
_NUM_POINTS = 5000
_BAD = {number: ("failed", "invalid", "missing")[number % 3] for number in range(0, _NUM_POINTS, 37)}
_TIMEOUT_S = 300.0


@dataclass
class _Opened:
    """Seconds of each visit."""

    ready_s: list[float] = field(default_factory=list)
    drawn_s: list[float] = field(default_factory=list)
    filter_s: list[float] = field(default_factory=list)
    metric_s: list[float] = field(default_factory=list)


def write(sweep: Path, page: Path) -> tuple[float, float, float]:
    """Return the seconds, those of a processor, and the peak MiB of `mixvllm report` in a process of its own."""
    command = [sys.executable, "-m", "mixvllm.cli.app", "report", str(sweep), "--output", str(page)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    _, told = process.communicate(timeout=_TIMEOUT_S)
    wall_s = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{told.decode()}")
    return wall_s, *_usage(command)


def _usage(command: list[str]) -> tuple[float, float]:
    """Return processor seconds and peak MiB of `command`, run once more by a process that has no other children."""
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cpu_s, peak_mib = map(float, done.stdout.split())
    return cpu_s, peak_mib


def visit(page: Path, num_visits: int) -> _Opened:
    """Return how long a browser takes for `page`, each time in a profile of its own."""
    from tests.report.browser import find_browser, started_browser  # noqa: PLC0415 - playwright may be missing

    found = _Opened()
    with started_browser(find_browser()) as browser:
        for _ in range(num_visits):
            context = browser.new_context()
            tab = context.new_page()
            began = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]")
            found.ready_s.append(time.perf_counter() - began)
            tab.evaluate("drawAll()")
            tab.wait_for_selector("#time .main-svg")
            found.drawn_s.append(time.perf_counter() - began)
            found.filter_s.append(_seconds(tab, "$('filter').value = 'max_concurrency>25'; filterTable()"))
            found.metric_s.append(_seconds(tab, "$('latency').value = 'mean_itl_ms'; drawTradeoff()"))
            context.close()
    return found


def _seconds(tab: Any, script: str) -> float:
    began = time.perf_counter()
    tab.evaluate(script)
    return time.perf_counter() - began


def main() -> int:
    """Measure, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once each")
    num = 1 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory(prefix="mixvllm-report-") as name:
        folder = Path(name)
        sweep = write_sweep(folder / "night", _GRID, verdicts=_BAD, num_samples=200)
        page = folder / "report.html"
        written = []
        for number in range(num):
            written.append(write(sweep.path, page))
            progress(f"report {number + 1} of {num}: {written[-1][0]:.1f} s, {written[-1][2]:.0f} MiB")
        rows = [
            Series("report of 5,000 points, s", [wall_s for wall_s, _, _ in written], MAX_WRITE_S),
            Series("  of a processor, s", [cpu_s for _, cpu_s, _ in written]),
            Series("peak memory, MiB", [peak_mib for _, _, peak_mib in written], MAX_PEAK_MIB),
            Series("size of the page, MB", [page.stat().st_size / 1e6], MAX_SIZE_MB),
            *_rows_of(page, num),
        ]
    return report("report", "the page of a sweep with 5,000 points, written and opened", rows)


def _rows_of(page: Path, num: int) -> list[Series]:
    if importlib.util.find_spec("playwright") is None or not _has_browser():
        progress("the browser is left out: apt-get install chromium, and pip install playwright")
        return []
    opened = visit(page, num)
    return [
        Series("opened in Chromium, s", opened.ready_s, MAX_OPEN_S),
        Series("  all charts drawn, s", opened.drawn_s),
        Series("  table filtered, s", opened.filter_s),
        Series("  another metric drawn, s", opened.metric_s),
    ]


def _has_browser() -> bool:
    names = ("chromium", "chromium-browser", "google-chrome")
    return any(os.access(Path(place, name), os.X_OK) for place in os.get_exec_path() for name in names)


if __name__ == "__main__":
    sys.exit(main())
