"""Logs of real servers, see `record_logs`: what is said of each is compared with what was recorded."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mixvllm import compose
from mixvllm.vllm.failures import Diagnosis, diagnose
from tests.vllm.failures.scenes import BASE, MODEL, SCENES

LOGS = Path(__file__).parent / "logs"
EXPECTED = Path(__file__).with_name("expected.json")
UNSEEN = ("asked_to_stop", "asked_to_stop_two_workers", "port_raced")
"""Scenes whose log shows no failure; vLLM prints nothing where another process listens on its port before it does."""


def diagnosis_of(name: str) -> Diagnosis:
    status = json.loads((LOGS / "exit_statuses.json").read_text())[name]
    config = compose([*BASE, f"model.name={MODEL}", *SCENES[name].overrides])
    return diagnose(LOGS / f"{name}.log", exit_status=status, config=config)


@pytest.mark.slow
def test_every_recorded_log_is_diagnosed_as_recorded() -> None:
    found = {name: diagnosis_of(name).record() for name in sorted(SCENES)}

    if os.environ.get("UPDATE_EXPECTED"):
        EXPECTED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(EXPECTED.read_text(encoding="utf-8"))


def test_every_scene_has_a_log_and_every_log_a_scene() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(SCENES)


@pytest.mark.parametrize("name", [name for name in SCENES if name not in UNSEEN])
def test_the_failure_of_every_scene_is_known(name: str) -> None:
    assert diagnosis_of(name).id != "unclassified"


@pytest.mark.parametrize("name", UNSEEN)
def test_a_log_that_shows_no_failure_is_not_explained(name: str) -> None:
    assert (diagnosis_of(name).id, diagnosis_of(name).line) == ("unclassified", None)


@pytest.mark.parametrize("name", sorted(SCENES))
def test_the_configuration_takes_what_is_proposed_for_a_real_log(name: str) -> None:
    overrides, proposed = [*BASE, f"model.name={MODEL}", *SCENES[name].overrides], diagnosis_of(name).override

    assert proposed is None or compose([*overrides, proposed]) != compose(overrides)


@pytest.mark.parametrize("name", sorted(SCENES))
def test_a_recorded_log_tells_nothing_of_its_machine(name: str) -> None:
    text = (LOGS / f"{name}.log").read_text()
    told = (sys.prefix, sys.base_prefix, str(Path.home()), "/work/", "/tmp/mixvllm", ".pyenv", "192.168.")

    assert [place for place in told if place in text] == []
