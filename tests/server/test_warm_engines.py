"""Warm engines are started once for each environment, told where they are not possible, and end with their launcher."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from mixvllm.errors import Interrupted
from mixvllm.machine.folders import private_tmp
from mixvllm.server.processes import ProcessId, identify, is_alive
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.server.warm.shared import MAY_DIFFER, warm_key
from mixvllm.vllm.installation import Installation
from tests.server.probed import Probed
from tests.written_runs import wait_for


@pytest.fixture
def engines() -> Iterator[WarmEngines]:
    """The warm engines of one launcher."""
    with WarmEngines() as engines:
        yield engines


INSTALLATION = Installation("/opt/python", "0.32.0", "vllm", "vllm.entrypoints.cli.main", "/opt/vllm")


@pytest.mark.parametrize("name", sorted(MAY_DIFFER))
def test_servers_may_differ_in_what_is_read_when_they_run(name: str) -> None:
    assert warm_key(INSTALLATION, {"A": "1", name: "1"}) == warm_key(INSTALLATION, {"A": "1"})


@pytest.mark.parametrize("other", [{"A": "2"}, {}, {"A": "1", "VLLM_LOGGING_LEVEL": "DEBUG"}], ids=str)
def test_servers_that_differ_in_another_variable_have_another_engine(other: Mapping[str, str]) -> None:
    assert warm_key(INSTALLATION, other) != warm_key(INSTALLATION, {"A": "1"})


def test_an_engine_is_started_once_for_each_environment(tmp_path: Path, engines: WarmEngines) -> None:
    probed = Probed(tmp_path)
    ones = [engines.get(probed.installation, probed.environment(LEVEL=level)) for level in "1121"]

    assert [ones.index(one) for one in ones] == [0, 0, 2, 0]


def test_a_dead_engine_is_replaced(tmp_path: Path, engines: WarmEngines) -> None:
    probed = Probed(tmp_path)
    first = engines.get(probed.installation, probed.environment())
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: not first.is_alive())

    second = engines.get(probed.installation, probed.environment())

    assert second is not None
    assert (second.is_alive(), second.pid != first.pid, second.memory_bytes > 1 << 20) == (True, True, True)


def test_only_so_many_engines_are_kept(tmp_path: Path, engines: WarmEngines) -> None:
    probed = Probed(tmp_path)
    ones = [engines.get(probed.installation, probed.environment(LEVEL=str(level))) for level in range(5)]

    assert [one is not None and one.is_alive() for one in ones] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("imported", "reason"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=[60], daemon=True).start()", "2 threads"),
        ("raise RuntimeError('no such device')", "RuntimeError: no such device"),
        ("import os; print('the last word', flush=True); os._exit(1)", "the last word"),
        (
            "import sys, types\nready = types.SimpleNamespace(is_initialized=lambda: True)\n"
            "sys.modules['torch'] = types.SimpleNamespace(cuda=ready)",
            "initialised a GPU",
        ),
    ],
)
def test_an_interpreter_that_cannot_be_forked_is_told_with_the_reason(
    tmp_path: Path, engines: WarmEngines, imported: str, reason: str
) -> None:
    probed = Probed(tmp_path, imported)
    before = set(private_tmp().glob("warm-*"))

    engine = engines.get(probed.installation, probed.environment())

    assert (engine, reason in str(engines.why_not(probed.installation, probed.environment()))) == (None, True)
    assert set(private_tmp().glob("warm-*")) <= before


def test_an_interpreter_that_is_not_there_is_told(engines: WarmEngines) -> None:
    assert engines.get(INSTALLATION, {}) is None
    assert "/opt/python" in str(engines.why_not(INSTALLATION, {}))


def test_waiting_for_the_imports_ends_when_a_stop_is_asked_for(tmp_path: Path) -> None:
    probed, wants_stop = Probed(tmp_path, "import time; time.sleep(60)"), threading.Event()
    threading.Timer(0.2, wants_stop.set).start()
    began = time.monotonic()

    with WarmEngines(should_stop=wants_stop.is_set) as engines, pytest.raises(Interrupted):
        engines.get(probed.installation, probed.environment())

    assert time.monotonic() - began < 30


def test_a_guardian_that_gets_no_task_ends(tmp_path: Path, engines: WarmEngines) -> None:
    probed = Probed(tmp_path)
    warm = engines.get(probed.installation, probed.environment())
    assert warm is not None
    guardian = warm.fork_guardian(tmp_path / "log")
    assert guardian.stdin is not None
    assert guardian.stdout is not None
    was_there = guardian.poll() is None

    guardian.stdin.close()

    with guardian.stdout:
        assert (was_there, guardian.wait(10)) == (True, 0)


def test_an_engine_that_imports_still_ends_with_its_launcher(tmp_path: Path) -> None:
    pid_file, before = tmp_path / "pid", set(private_tmp().glob("warm-*"))
    probed = Probed(tmp_path, f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    launcher = os.fork()
    if launcher == 0:
        with suppress(BaseException):
            WarmEngines().get(probed.installation, probed.environment())
        os._exit(0)
    wait_for(lambda: pid_file.exists() and pid_file.read_text())
    engine = identify(int(pid_file.read_text()))
    assert isinstance(engine, ProcessId)

    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)

    wait_for(lambda: not is_alive(engine), 10)
    assert set(private_tmp().glob("warm-*")) <= before
