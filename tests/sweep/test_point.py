"""The two hashes of a point: what is asked for, and what server it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixvllm import compose
from mixvllm.machine.source import code_digest
from mixvllm.sweep.point import Point, freeze
from mixvllm.vllm.installation import find_installation
from tests.fakes.interpreter import make_interpreter


@pytest.fixture
def python(tmp_path: Path) -> str:
    return str(make_interpreter(tmp_path / "fake"))


def point(python: str, *overrides: str) -> Point:
    config = compose(["model=qwen3_8b", f"server.python={python}", *overrides])
    return freeze(config, overrides, find_installation(python), lambda _line: None)


@pytest.mark.parametrize("override", ["output_dir=/elsewhere", "preflight=off", "dry_run=true"])
def test_how_a_run_is_started_and_written_does_not_change_what_it_asks_for(python: str, override: str) -> None:
    assert point(python, override).content_hash == point(python).content_hash


@pytest.mark.parametrize("override", ["inference.seed=3", "generation.temperature=0.5", "workload=probe"])
def test_what_a_run_asks_for_changes_its_hash(python: str, override: str) -> None:
    assert point(python, override).content_hash != point(python).content_hash


@pytest.mark.parametrize("override", ["server.port=9000", "server.host=0.0.0.0", "workload.prompt=Hi"])
def test_points_that_differ_only_beside_the_engine_can_share_a_server(python: str, override: str) -> None:
    assert point(python, override).server_key == point(python).server_key


@pytest.mark.parametrize("override", ["inference.seed=3", "server.env.NCCL_DEBUG=INFO", "generation.temperature=0.5"])
def test_points_whose_engines_differ_cannot(python: str, override: str) -> None:
    assert point(python, override).server_key != point(python).server_key


def test_sampling_that_goes_with_requests_needs_no_server_of_its_own(python: str) -> None:
    hot, cold = (point(python, "workload=probe", f"generation.temperature={value}") for value in (1.0, 0.0))

    assert (hot.server_key == cold.server_key, hot.content_hash == cold.content_hash) == (True, False)


def test_another_vllm_or_other_code_is_another_run(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = point(python)
    hashes = [here.content_hash]
    hashes.append(replace(here, installation=replace(here.installation, version="0.33.0")).content_hash)
    monkeypatch.setattr("mixvllm.sweep.point.code_digest", lambda: "changed")
    hashes.append(point(python).content_hash)

    assert len(set(hashes)) == 3


def test_the_digest_of_the_code_changes_with_what_measures_alone(
    tmp_path: Path,
) -> None:
    for name in ("__init__.py", "cli/screen.py", "report/page.py", "sweep/group.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before = 1\n")

    def digest_with(name: str) -> str:
        (tmp_path / name).write_text("after = 2\n")
        return code_digest.__wrapped__(tmp_path)

    before = code_digest.__wrapped__(tmp_path)
    names = ("cli/screen.py", "report/page.py", "sweep/group.py")
    assert [digest_with(name) == before for name in names] == [True, True, False]
