"""A start that shows no sign of life is given up; one that is only slow is not. The clock is moved by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm.errors import ServerNotReady
from mixvllm.server.log import LogReader
from mixvllm.server.startup import StartUp
from mixvllm.server.usage import Usage
from mixvllm.vllm.phases import PHASES, STALL_S
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import Serve
from tests.written_runs import wait_for

BEGINNINGS = {
    "imports": "",
    "engine": "(APIServer pid=1) INFO 01-02 03:04:05 [utils.py:1] non-default args: {}\n",
    "weights": "(Worker pid=1) INFO 01-02 03:04:05 [runner.py:1] Starting to load model some/model...\n",
    "compile": "(Worker pid=1) INFO 01-02 03:04:05 [loader.py:1] Loading weights took 0.01 seconds\n",
    "kv_cache": "(EngineCore pid=1) INFO 01-02 03:04:05 [kv.py:1] GPU KV cache size: 65,536 tokens\n",
    "warmup": "(Worker pid=1) INFO 01-02 03:04:05 [runner.py:1] Warming up model for the compilation...\n",
    "http": "(APIServer pid=1) INFO 01-02 03:04:05 [entry.py:1] Starting vLLM server on http://127.0.0.1:8000\n",
}


class Scene:
    """A start in `phase`, looked at every second."""

    def __init__(self, log: Path, phase: str, stall_timeout_s: float | None = None) -> None:
        self.now = 1000.0
        self.used = Usage(10.0, 1 << 30)
        self.log = log
        log.write_text(BEGINNINGS[phase])
        self._startup = StartUp(LogReader(log), lambda: self.used, stall_timeout_s, lambda: self.now)
        list(self._startup.new_phases())
        assert self._startup.phase == phase

    def stalls_after(self, max_s: int, cpu_s: float = 0.0, read_bytes: int = 0, line_each_s: int = 0) -> int | None:
        """Return after how many seconds it stalls; None where it does not in `max_s`.

        Args:
            cpu_s: CPU time that the server uses each second.
            read_bytes: bytes that it reads each second.
            line_each_s: seconds between two lines of its log; 0 = no line.
        """
        for second in range(1, max_s + 1):
            self.now += 1
            self.used = Usage(self.used.cpu_s + cpu_s, self.used.read_bytes + read_bytes)
            if line_each_s and second % line_each_s == 0:
                self.log.write_text(f"{self.log.read_text()}a line at {second}\n")
            list(self._startup.new_phases())
            if self._startup.stalled_s() is not None:
                return second
        return None


@pytest.mark.parametrize("phase", PHASES)
def test_a_silent_phase_stalls_at_its_own_limit(tmp_path: Path, phase: str) -> None:
    seconds = Scene(tmp_path / "log", phase).stalls_after(10_000)

    assert seconds is not None and STALL_S[phase] <= seconds <= STALL_S[phase] + 3


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("sign", [{"cpu_s": 0.1}, {"read_bytes": 1 << 20}, {"line_each_s": 100}], ids=str)
def test_a_slow_phase_never_stalls(tmp_path: Path, phase: str, sign: dict[str, int]) -> None:
    assert Scene(tmp_path / "log", phase).stalls_after(3000, **sign) is None


def test_a_process_that_only_waits_shows_no_life_by_the_little_it_uses(tmp_path: Path) -> None:
    assert Scene(tmp_path / "log", "weights").stalls_after(1000, cpu_s=0.005, read_bytes=1000) is not None


def test_a_helper_that_ends_shows_life_though_less_is_used_than_before(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "log", "http")
    scene.stalls_after(100)
    scene.used = Usage(2.0, 1 << 20)

    assert scene.stalls_after(100) is None


def test_a_limit_of_the_users_own_holds_for_every_phase(tmp_path: Path) -> None:
    assert Scene(tmp_path / "log", "weights", stall_timeout_s=30).stalls_after(1000) in (30, 31, 32, 33)


def test_a_stalled_server_is_ended_and_the_phase_named(serve: Serve) -> None:
    one = serve({"stall_timeout_s": 0.5, "restart": "never"}, hang_in="weights")
    wait_for(lambda: "Starting to load model" in one.folder.server_log.read_text())

    with pytest.raises(ServerNotReady, match=r"nothing has moved for \d s, in phase weights"):
        one.service.wait_ready()
    one.service.stop()

    assert assert_nothing_left(one.witness)["state"] == "failed"
