"""What processes take: summed up, over time, whatever becomes of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixvllm.machine.process_load import ProcessReader

BUSY = "print(1, flush=True)\nwhile True: pass"
QUIET = "print(1, flush=True); input()"
LARGE = "x = b'1' * (200 << 20); print(1, flush=True); input()"


def start(program: str) -> subprocess.Popen[bytes]:
    """Start a Python that has said that it is there."""
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def busy() -> Iterator[int]:
    process = start(BUSY)
    yield process.pid
    end(process)


@pytest.fixture
def large() -> Iterator[int]:
    process = start(LARGE)
    yield process.pid
    end(process)


@pytest.fixture
def quiet() -> Iterator[int]:
    process = start(QUIET)
    yield process.pid
    end(process)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used(*pids: int) -> tuple[float, float]:
    """Return the time, and the seconds of CPU that `pids` have used by then."""
    return time.monotonic(), sum(map(cpu_s, pids))


def wait_cpu(pid: int, seconds: float) -> None:
    """Wait until `pid` has used `seconds` of CPU time more."""
    until = cpu_s(pid) + seconds
    while cpu_s(pid) < until:
        os.sched_yield()


def test_cpu_is_what_was_used_since_the_look_before(busy: int, quiet: int) -> None:
    reader, moments = ProcessReader(), [used(busy, quiet)]

    assert reader.read([busy, quiet]).cpu_percent is None
    moments.append(used(busy, quiet))
    wait_cpu(busy, 0.3)
    moments.append(used(busy, quiet))
    first = reader.read([busy, quiet]).cpu_percent
    moments.append(used(busy, quiet))

    times, cpu = zip(*moments, strict=True)  # before and after each look
    assert first is not None
    assert 100 * (cpu[2] - cpu[1]) / (times[3] - times[0]) - 0.1 < first
    assert first < 100 * (cpu[3] - cpu[0]) / (times[2] - times[1]) + 0.1
    assert reader.read([quiet]).cpu_percent == 0


def test_a_process_that_joins_counts_from_its_begin(busy: int, quiet: int) -> None:
    reader = ProcessReader()
    reader.read([quiet])
    wait_cpu(busy, 0.2)

    joined = reader.read([busy, quiet]).cpu_percent
    assert joined is not None
    assert joined > 0


def test_memory_is_summed_over_the_processes(large: int, quiet: int) -> None:
    together, alone = ProcessReader().read([large, quiet]), ProcessReader().read([quiet])

    assert together.num_processes == 2
    assert together.rss_gib - alone.rss_gib > 0.19
    assert together.pss_gib is not None
    assert 0.19 < together.pss_gib <= together.rss_gib


def test_a_process_that_is_gone_counts_nothing(quiet: int) -> None:
    gone = start(QUIET)
    end(gone)

    load = ProcessReader().read([quiet, gone.pid])
    assert load.num_processes == 1
    assert ProcessReader().read([]).record() == {
        "num_processes": 0,
        "cpu_percent": None,
        "rss_gib": 0.0,
        "pss_gib": 0.0,
    }
