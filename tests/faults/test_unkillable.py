"""What does not go in spite of everything is named, in bounded time: a process, or memory of a GPU."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from mixvllm.errors import StopIncomplete
from mixvllm.machine import GIB
from mixvllm.server import guardian
from mixvllm.server.aftermath import GpuBaseline, what_is_left
from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.limits import StopLimits
from mixvllm.server.processes import is_alive
from tests.faults.served import Serve
from tests.written_runs import SLEEP, Processes

POWERLESS = """
import json, subprocess, sys
task = json.loads(sys.stdin.readline())
leader = subprocess.Popen(["sleep", "60"], start_new_session=True)
ticks = open(f"/proc/{leader.pid}/stat").read().rpartition(")")[2].split()[19]
print(json.dumps({"leader": [leader.pid, int(ticks)]}), flush=True)
for line in sys.stdin:
    if json.loads(line)["do"] == "stop":
        print(json.dumps({"left": [[leader.pid, int(ticks)]], "was_killed": True}), flush=True)
        break
"""
"""A guardian that cannot end its server, as where a driver holds a process in the kernel."""

DEAF = POWERLESS.partition("for line")[0] + "import time; time.sleep(60)"
"""A guardian that does nothing more."""


@pytest.fixture
def powerless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have launchers start the powerless guardian."""
    program = tmp_path / "powerless.py"
    program.write_text(POWERLESS)
    monkeypatch.setattr(guardian, "__file__", str(program))


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.end()


def test_a_process_that_would_not_go_is_named_and_the_run_has_failed(serve: Serve, powerless: None) -> None:
    one = serve()
    one.witness.note()

    with pytest.raises(StopIncomplete, match=rf"left after the stop: processes {one.leader} \(sleep\)"):
        one.service.stop()

    assert (one.status()["state"], one.status()["cause"]) == (
        "failed",
        f"left after the stop: processes {one.leader} (sleep)",
    )


def test_a_guardian_that_does_not_answer_is_waited_for_as_long_as_a_stop_may_take(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    deaf = subprocess.Popen([sys.executable, "-c", DEAF], **pipes)
    assert deaf.stdin is not None
    deaf.stdin.write(b"{}\n")
    process = GuardedProcess(deaf, StopLimits(0.1, 0.1, 0.1, 0.1), drain_s=0.1, tmp_dir=tmp_path / "tmp")
    began = time.monotonic()

    assert (process.stop(lambda: False), is_alive(process.leader)) == ([], False)
    assert time.monotonic() - began < 50  # of the 60 s that it sleeps


def test_what_cannot_be_killed_ends_the_attempt_at_its_deadline(processes: Processes) -> None:
    survivor = processes.start(SLEEP)
    began = time.monotonic()

    left = what_is_left([survivor], None, no_gpus(), StopLimits(kill_s=600, port_s=600, gpu_s=600))

    assert (left, time.monotonic() - began < 60) == (f"processes {survivor.pid} (python)", True)


def no_gpus() -> GpuBaseline:
    with ThreadPoolExecutor() as background:
        return GpuBaseline(background, is_needed=False)


class Driver:
    """NVIDIA's library with one GPU, of which `used_gib` are in use by `num_processes`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used_gib = 1.0
        self.num_processes = 0
        self.num_asked = 0
        self.given_back_at: int | None = None
        calls = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda _index: "handle",
            "nvmlDeviceGetMemoryInfo": self._memory,
            "nvmlDeviceGetComputeRunningProcesses": lambda _handle: [None] * self.num_processes,
        }
        for name, call in calls.items():
            monkeypatch.setattr(pynvml, name, call)

    def _memory(self, _handle: object) -> SimpleNamespace:
        self.num_asked += 1
        if self.given_back_at is not None and self.num_asked >= self.given_back_at:
            self.used_gib = 1.0
        return SimpleNamespace(used=self.used_gib * GIB)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(monkeypatch)


def baseline() -> GpuBaseline:
    with ThreadPoolExecutor() as background:
        return GpuBaseline(background, is_needed=True)


LIMITS = StopLimits(port_s=0.1, gpu_s=0.3)


def test_memory_of_a_gpu_that_does_not_come_back_is_named(driver: Driver) -> None:
    before = baseline()
    driver.used_gib = 25.0

    assert what_is_left([], None, before, LIMITS) == "24 GiB of GPU 0"


def test_memory_of_a_gpu_that_comes_back_late_is_waited_for(driver: Driver) -> None:
    before = baseline()
    driver.used_gib, driver.given_back_at = 25.0, driver.num_asked + 3

    assert what_is_left([], None, before, StopLimits(gpu_s=30)) is None


def test_memory_that_another_process_may_have_is_not_counted(driver: Driver) -> None:
    before = baseline()
    driver.used_gib, driver.num_processes = 25.0, 1

    assert what_is_left([], None, before, LIMITS) is None


def test_a_driver_that_fails_meanwhile_tells_nothing(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    before = baseline()

    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)

    assert what_is_left([], None, before, LIMITS) is None


def test_a_port_that_stays_open_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert what_is_left([], port, no_gpus(), LIMITS) == f"a listener on port {port}"
