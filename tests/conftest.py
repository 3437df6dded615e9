"""Every test runs in an empty folder, with an environment that holds nothing of the user's settings.

Tests run in several processes at once; each has its own ports and its own folder for temporary files, so that one can
check that nothing is left while others start servers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from mixvllm.machine.ports import FIRST_PORT_VARIABLE
from tests.fakes.interpreter import make_interpreter
from tests.launches import Launch, Run
from tests.ports import first_port

_STARTERS = {
    *("run", "launch_fake", "detach", "serve", "serving", "start", "start_sweep", "plan_local", "make_group"),
    *("make_generator", "engines", "search"),
}
"""Fixtures that start launchers, servers or load generators."""
_SLOW = {
    "faults/",
    "slurm/",
    "cli/test_launch",
    "config/test_hydra_tree",
    "server/test_stopping",
    "server/test_warm",
    "report/test_page",
    "report/test_track",
    "sweep/test_search",
    "test_documents",
    "test_package",
    "vllm/failures/test_log_lines",
}
"""Folders and modules whose tests take long without one of these."""
_ONE_BY_ONE = ("tests/engine/", "tests/slurm/")
"""Folders whose tests run one after the other."""
_SETTINGS = ("MIXVLLM_", "HYDRA_", "VLLM_", "OMEGACONF_")

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a busy machine is no fault


class FolderScheduling(LoadScopeScheduling):
    """Gives all tests of a folder in `_ONE_BY_ONE` to one process; side by side they would fight over the machine."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in _ONE_BY_ONE if nodeid.startswith(folder)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    """Return who decides which process runs which test."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes seconds, mostly since it starts programs."""
    for item in items:
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        if _STARTERS & set(getattr(item, "fixturenames", ())) or name.startswith(tuple(_SLOW)):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give this process a folder for temporary files, with a short path: vLLM's sockets are below it."""
    tmp_path_factory.getbasetemp()  # what tests leave is kept for a look, in the usual place
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    folder = tempfile.mkdtemp(prefix="mx-", dir="/tmp")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    yield
    _, tempfile.tempdir = before
    os.environ.pop("TMPDIR")
    if before[0] is not None:
        os.environ["TMPDIR"] = before[0]
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the user's settings away, and move to a folder of the test's own."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MIXVLLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(FIRST_PORT_VARIABLE, str(first_port()))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return a function that launches the fake vLLM: arguments of the launcher, and keys of the fake's script."""
    launches: list[Launch] = []

    def run_one(*arguments: str, output: int | None = None, wrapper: Sequence[str] = (), **script: Any) -> Launch:
        folder = tmp_path / f"launch-{len(launches)}"
        folder.mkdir()
        python = make_interpreter(folder / "fake", phase_s=0.005, **script)
        own = [
            "model=default",
            "model.name=some/model",
            f"server.python={python}",
            "server.drain_timeout_s=1",
            "preflight=off",
        ]
        launches.append(Launch(folder, [*own, *arguments], output=output, wrapper=wrapper))
        return launches[-1]

    yield run_one
    for one in launches:
        one.end()
