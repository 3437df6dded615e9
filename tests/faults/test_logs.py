"""Whatever a server prints, and wherever it cannot print, the server goes on and the launcher stays small."""

from __future__ import annotations

import os
import signal
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from mixvllm.runs.scrub import LogScrubber
from mixvllm.server.log import LogReader, tail
from tests.faults.launched import LaunchFake
from tests.faults.nothing_left import assert_nothing_left

MIB = 1 << 20

CONTENTS: dict[str, bytes] = {
    "many short lines": b"INFO: a line of the log\n" * (4 * MIB // 24),
    "lines of 1 MiB": (b"x" * MIB + b"\n") * 4,
    "no newline": b"x" * (4 * MIB),
    "binary": os.urandom(MIB) * 4,
    "carriage returns": b"Loading: 10%\r" * (4 * MIB // 13),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_log_of_any_kind_is_read_in_little_memory(tmp_path: Path, content: str) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(CONTENTS[content])
    reader, scrubber = LogReader(log), LogScrubber(log, ["a-secret-that-is-long-enough"])
    tracemalloc.start()

    for _ in range(6):
        reader.new_lines()
        scrubber.scrub()
    tail(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # The lists of one chunk's lines, each an object, take most of it.
    assert peak < 40 * MIB


def test_a_server_that_floods_its_log_serves_and_the_launcher_stays_small(launch_fake: LaunchFake) -> None:
    one = launch_fake(log_flood_mb=100)
    one.wait_ready()
    launcher = psutil.Process(one.launch.process.pid)

    assert launcher.memory_info().rss < 200 * MIB
    assert one.folder.server_log.stat().st_size > 100 * MIB
    one.kill(one.launch.process.pid, number=signal.SIGINT)
    assert one.launch.exit_code() == 130
    assert_nothing_left(one.witness)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a disk that is full needs the right to mount one: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Use up what `disk` has left; return the file that does."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_a_server_goes_on_when_its_disk_is_full_and_stops_as_it_should(
    launch_fake: LaunchFake, small_disk: Path
) -> None:
    one = launch_fake("server.sample_period_s=0.1", outputs=small_disk)
    url = one.wait_ready()
    ballast = fill(small_disk)

    assert [httpx.get(f"{url}/health", trust_env=False).status_code for _ in range(50)] == [200] * 50
    ballast.unlink()
    one.kill(one.launch.process.pid, number=signal.SIGINT)

    assert one.launch.exit_code() == 130
    assert assert_nothing_left(one.witness)["state"] == "stopped"


def test_nothing_runs_on_where_the_end_cannot_be_recorded(launch_fake: LaunchFake, small_disk: Path) -> None:
    one = launch_fake(outputs=small_disk)
    one.wait_ready()
    fill(small_disk)
    one.kill(one.launch.process.pid, number=signal.SIGINT)

    one.launch.exit_code()

    assert one.witness.left() == []
