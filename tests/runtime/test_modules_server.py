"""Servers after `module load`: with a small stand-in for Lmod, and with Environment Modules where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixvllm.config.schema import ModelConfig, RuntimeConfig, ServeConfig
from mixvllm.errors import EngineNotFound
from mixvllm.vllm.installation import installation_of
from tests.fakes.interpreter import make_interpreter
from tests.needs import need
from tests.server.conftest import Place, Start
from tests.server.test_stop import (
    test_a_server_that_does_not_stop_is_killed_at_the_deadline,
    test_a_server_that_stops_as_told_is_not_killed,
    test_nothing_is_left_after_a_stop_during_start_up,
    test_nothing_is_left_after_a_stop_when_ready,
    test_requests_in_flight_finish,
)

__all__ = [
    "test_a_server_that_does_not_stop_is_killed_at_the_deadline",
    "test_a_server_that_stops_as_told_is_not_killed",
    "test_nothing_is_left_after_a_stop_during_start_up",
    "test_nothing_is_left_after_a_stop_when_ready",
    "test_requests_in_flight_finish",
]

STAND_IN = Path(__file__).parents[1] / "fakes" / "modules_init.sh"
REAL = Path("/usr/share/modules/init/bash")

MakeModule = Callable[..., RuntimeConfig]


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeModule:
    """Return a function that makes a module `vllm/fake`, whose `python3` is the fake's."""

    def make(folder: Path, init: Path = STAND_IN, **script: Any) -> RuntimeConfig:
        python = make_interpreter(folder / "bin", **script)
        python.rename(folder / "bin" / "python3")
        module = folder / "modules" / "vllm" / "fake"
        module.parent.mkdir(parents=True)
        text = f"#%Module\nprepend-path PATH {folder / 'bin'}\nsetenv OF_MODULE yes\n"
        if init == STAND_IN:
            text = f"export PATH={folder / 'bin'}:$PATH OF_MODULE=yes\n"
        module.write_text(text)
        monkeypatch.setenv("MODULEPATH", str(folder / "modules"))
        return RuntimeConfig(kind="modules", modules=["vllm/fake"], module_init=str(init))

    return make


@pytest.fixture
def place(make_module: MakeModule) -> Place:
    """Return a function that makes a module with the fake."""

    def make(folder: Path, **script: Any) -> dict[str, Any]:
        return {"runtime": make_module(folder, **script).model_dump()}

    return make


def need_modules() -> None:
    """Have Environment Modules installed."""
    need([] if REAL.is_file() else ["environment-modules"], "Environment Modules")


def test_a_real_module_is_loaded(make_module: MakeModule, tmp_path: Path) -> None:
    need_modules()
    runtime = make_module(tmp_path / "fake", REAL)

    found = installation_of(ServeConfig(model=ModelConfig(name="some/model"), runtime=runtime))

    assert (found.python, found.version) == ("python3", "0.32.0")


@pytest.mark.parametrize("init", [STAND_IN, REAL], ids=["stand-in", "environment-modules"])
def test_a_module_that_is_not_there_is_named_before_anything_starts(
    make_module: MakeModule, tmp_path: Path, init: Path
) -> None:
    if init == REAL:
        need_modules()
    runtime = make_module(tmp_path / "fake", init).model_copy(update={"modules": ["vllm/0.99"]})

    with pytest.raises(EngineNotFound, match=r"(?s)modules vllm/0.99 cannot be asked.*vllm/0.99"):
        installation_of(ServeConfig(model=ModelConfig(name="some/model"), runtime=runtime))


def test_no_shell_is_left_between(start: Start) -> None:
    one = start()

    one.server.wait_ready()

    assert one.server.pid == next(iter(one.pids.values()))
    assert "bash" not in Path(f"/proc/{one.server.pid}/comm").read_text()
