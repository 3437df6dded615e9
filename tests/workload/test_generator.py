"""The load generator: imported once, forked for each run, and gone with whoever wanted it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from mixvllm.errors import Interrupted, WorkloadFailed
from mixvllm.workload import programs
from mixvllm.workload.generator import LoadGenerator
from tests.server.conftest import is_alive
from tests.workload.conftest import MakeGenerator, generator_surroundings, never, wait_until

OPTIONS = ["--num-prompts", "0", "--result-filename", "result.json", "--result-dir"]


def hanging(pids: Path) -> list[int]:
    """Return the processes of a run that hangs, once they are there."""
    return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []


def test_runs_share_one_import(make_generator: MakeGenerator, tmp_path: Path) -> None:
    generator = make_generator()

    statuses = [
        generator.run([*OPTIONS, str(tmp_path)], tmp_path / f"{number}.log", 10, never).status for number in range(3)
    ]

    assert (statuses, generator.cold_reason) == ([0, 0, 0], None)
    assert (tmp_path / "imports").read_text() == f"{generator.pids[0]}\n"


def test_a_run_has_its_own_options_environment_and_log(make_generator: MakeGenerator, tmp_path: Path) -> None:
    generator = make_generator()

    for seed, greeting in ((7, "hello"), (8, "hi")):
        log, options = tmp_path / f"{seed}.log", [*OPTIONS, str(tmp_path), "--seed", str(seed)]
        generator.run(options, log, 10, never, environment={"GREETING": greeting})

    said = [(tmp_path / f"{seed}.log").read_text().partition(" with ")[2] for seed in (7, 8)]
    assert said == ["seed 7 and greeting hello\n", "seed 8 and greeting hi\n"]


@pytest.mark.parametrize("is_warm", [True, False])
def test_the_exit_status_is_that_of_the_load_generator(make_generator: MakeGenerator, is_warm: bool) -> None:
    assert make_generator(is_warm=is_warm, status=3).run([], Path("log"), 10, never).status == 3


@pytest.mark.parametrize(("script", "reason"), [({"import": True}, "does not want"), ({"threads": True}, "1 threads")])
def test_runs_are_cold_where_a_process_cannot_be_forked(
    make_generator: MakeGenerator, tmp_path: Path, script: dict[str, bool], reason: str
) -> None:
    generator = make_generator(**script)

    ended = generator.run([*OPTIONS, str(tmp_path)], tmp_path / "log", 10, never)

    assert (ended.status, (tmp_path / "result.json").exists()) == (0, True)
    assert reason in str(generator.cold_reason)


@pytest.mark.parametrize("is_warm", [True, False])
def test_a_run_that_takes_too_long_is_ended_with_its_children(
    make_generator: MakeGenerator, tmp_path: Path, is_warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    generator = make_generator(is_warm=is_warm, hang=str(pids))
    late = Event()
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + (1000 if late.is_set() else 0))
    monkeypatch.setattr(programs, "time", clock)

    def be_late_once_it_hangs() -> bool:
        if pids.exists():
            late.set()
        return False

    ended = generator.run([], tmp_path / "log", 500, be_late_once_it_hangs)

    assert (ended.is_late, ended.was_stopped, ended.status) == (True, False, -signal.SIGTERM)
    assert (len(hanging(pids)), [pid for pid in hanging(pids) if is_alive(pid)]) == (2, [])


def test_a_stop_ends_a_run_with_its_children(make_generator: MakeGenerator, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    ended = make_generator(hang=str(pids)).run([], tmp_path / "log", None, pids.exists)

    assert (ended.was_stopped, [pid for pid in hanging(pids) if is_alive(pid)]) == (True, [])


def test_an_error_while_it_runs_is_raised_when_nothing_is_left_of_the_run(
    make_generator: MakeGenerator, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    def fail_when_it_runs() -> bool:
        if pids.exists():
            raise RuntimeError("the server died")
        return False

    with pytest.raises(RuntimeError, match="the server died"):
        make_generator(hang=str(pids)).run([], tmp_path / "log", None, fail_when_it_runs)

    assert [pid for pid in hanging(pids) if is_alive(pid)] == []


def test_a_stop_before_it_is_ready_is_an_interruption(make_generator: MakeGenerator, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        make_generator().run([], tmp_path / "log", None, lambda: True)


def test_the_next_run_is_as_the_first_after_one_that_was_ended(make_generator: MakeGenerator, tmp_path: Path) -> None:
    generator = make_generator()
    generator.run([], tmp_path / "log", 0, never)

    assert generator.run([*OPTIONS, str(tmp_path)], tmp_path / "log", 10, never).status == 0


def test_a_killed_keeper_is_an_error_and_takes_its_run_along(make_generator: MakeGenerator, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    generator = make_generator(hang=str(pids))

    def kill_the_keeper() -> bool:
        if pids.exists():
            os.kill(generator.pids[0], signal.SIGKILL)
        return False

    with pytest.raises(WorkloadFailed, match="was killed"):
        generator.run([], tmp_path / "log", None, kill_the_keeper)

    assert (len(hanging(pids)), [pid for pid in hanging(pids) if is_alive(pid)]) == (2, [])


def test_nothing_is_left_of_a_generator_that_is_closed_while_it_imports(make_generator: MakeGenerator) -> None:
    generator = make_generator()
    pids = generator.pids
    generator.close()

    assert [pid for pid in pids if is_alive(pid)] == []


_LAUNCHER = """
import os, sys
from pathlib import Path
from tests.workload.conftest import INSTALLATION
from mixvllm.workload.generator import LoadGenerator
folder = Path(sys.argv[1])
with LoadGenerator(INSTALLATION, os.environ, folder, is_warm=sys.argv[2] == "warm") as generator:
    def tell() -> bool:
        if generator.pids:
            (folder / "new").write_text(str(generator.pids[0]))
            (folder / "new").rename(folder / "keepers")
        return False
    generator.run([], folder / "log", None, tell)
"""


@pytest.mark.parametrize("kind", ["warm", "cold"])
def test_nothing_is_left_when_the_launcher_is_killed(tmp_path: Path, kind: str) -> None:
    pids, root = tmp_path / "pids", Path(__file__).parents[2]
    environment = generator_surroundings(tmp_path, hang=str(pids))
    environment["PYTHONPATH"] += f":{root}"
    launcher = subprocess.Popen([sys.executable, "-c", _LAUNCHER, str(tmp_path), kind], env=environment, cwd=root)
    wait_until(lambda: pids.exists() and (tmp_path / "keepers").exists())
    everyone = [*hanging(pids), int((tmp_path / "keepers").read_text())]
    launcher.kill()
    launcher.wait()

    wait_until(lambda: not any(is_alive(pid) for pid in everyone))

    assert len(everyone) == 3


def test_cpu_time_is_measured_between_two_moments(make_generator: MakeGenerator, tmp_path: Path) -> None:
    generator: LoadGenerator = make_generator()
    burn = "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass\ntime.sleep(3)"

    ended = generator.run_program([sys.executable, "-c", burn], tmp_path / "log", 30, never)

    idle_s = ended.cpu_between(ended.ended_s - 0.5, ended.ended_s)
    assert (ended.cpu_s > 0.9, idle_s < 0.1) == (True, True)
