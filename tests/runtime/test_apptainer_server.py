"""Servers in an image behave as local ones: the tests of those, and what an image adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.containers import make_image
from tests.runtime.conftest import serving_call
from tests.server.conftest import Place, Start
from tests.server.test_stop import (
    test_a_dead_engine_is_a_failure_though_the_leader_exits_with_0,
    test_a_server_that_does_not_stop_is_killed_at_the_deadline,
    test_a_server_that_stops_as_told_is_not_killed,
    test_force_ends_the_wait,
    test_nothing_is_left_after_a_stop_during_start_up,
    test_nothing_is_left_after_a_stop_when_ready,
    test_requests_in_flight_finish,
    test_the_children_of_a_killed_leader_are_ended,
)

__all__ = [
    "test_a_dead_engine_is_a_failure_though_the_leader_exits_with_0",
    "test_a_server_that_does_not_stop_is_killed_at_the_deadline",
    "test_a_server_that_stops_as_told_is_not_killed",
    "test_force_ends_the_wait",
    "test_nothing_is_left_after_a_stop_during_start_up",
    "test_nothing_is_left_after_a_stop_when_ready",
    "test_requests_in_flight_finish",
    "test_the_children_of_a_killed_leader_are_ended",
]


@pytest.fixture
def place(programs: Path) -> Place:
    """Return a function that puts the fake into an image."""

    def make(folder: Path, **script: Any) -> dict[str, Any]:
        return {"runtime": {"kind": "apptainer", "image": str(make_image(folder, **script))}}

    return make


def test_the_key_reaches_the_engine_and_no_command_line(start: Start, programs: Path) -> None:
    one = start({"api_key": "generate"})

    one.server.wait_ready()

    key = one.server.address.key
    assert key is not None
    call = serving_call(programs)
    assert call["environment"]["VLLM_API_KEY"] == key.value
    assert key.value not in Path(f"/proc/{one.server.pid}/cmdline").read_text()
    assert key.value not in one.folder.command.read_text()


def test_the_engine_gets_what_is_for_it_and_nothing_else(
    start: Start, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "HF_TOKEN", "NCCL_DEBUG", "UCX_TLS", "MY_PASSWORD", "PYTHONPATH"):
        monkeypatch.setenv(name, f"of-{name}")
    one = start({"env": {"MINE": "x"}})

    one.server.wait_ready()

    environment = serving_call(programs)["environment"]
    given = {name for name, value in environment.items() if value == f"of-{name}"}
    assert given == {"CUDA_VISIBLE_DEVICES", "HF_TOKEN", "NCCL_DEBUG"}
    assert (environment["MINE"], environment["VLLM_HOST_IP"]) == ("x", "127.0.0.1")


def test_the_model_folder_is_mounted_where_it_is_read_only(start: Start, programs: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / "mine"
    model.mkdir(parents=True)
    one = start(model={"name": str(model), "served_model_name": "mine"})

    one.server.wait_ready()

    assert f"{model}:{model}:ro" in serving_call(programs)["options"]["--bind"]


def test_temporary_files_of_the_engine_are_those_that_are_removed(start: Start, programs: Path) -> None:
    one = start()
    one.server.wait_ready()
    tmp_dir = serving_call(programs)["environment"]["TMPDIR"]
    was_there = Path(tmp_dir).is_dir()

    one.server.stop()

    assert (was_there, Path(tmp_dir).exists()) == (True, False)
