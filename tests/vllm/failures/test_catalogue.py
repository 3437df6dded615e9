"""Every failure of the catalogue is told from its lines, whatever else is in the log."""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from mixvllm import ExperimentConfig, compose
from mixvllm.vllm.failures import diagnose
from mixvllm.vllm.failures.catalogue import CATALOGUE
from mixvllm.vllm.failures.catalogue.entry import Failure
from mixvllm.vllm.failures.log_lines import parse_line
from mixvllm.vllm.failures.stalls import STALLS
from tests.vllm.failures.snippets import DRESSINGS, Case, read_cases, written

CASES = read_cases()


def name_of(value: object) -> str:
    return value.id if isinstance(value, Case) else getattr(value, "__name__", str(value))


@cache
def config_of(overrides: tuple[str, ...]) -> ExperimentConfig:
    return compose(overrides)


@pytest.mark.parametrize("dressing", DRESSINGS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_failure_is_told_from_its_lines(case: Case, dressing: Callable[[Case], str], tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(dressing(case))

    found = diagnose(log, exit_status=case.exit_status, config=config_of(case.config))

    told = written(case.lines[case.shown])
    assert (found.id, found.kind, found.override) == (case.id, case.kind, case.override)
    assert (found.line or "").removesuffix("…") == told[: len((found.line or "").removesuffix("…"))]
    assert log.read_text().split("\n")[(found.line_number or 0) - 1].strip().endswith(told[-40:])


@pytest.mark.parametrize("case", [case for case in CASES if case.override], ids=name_of)
def test_the_configuration_takes_every_override_that_is_proposed(case: Case) -> None:
    before, override = config_of(case.config), case.override or ""

    assert compose([*case.config, override]) != before


def test_every_sign_of_the_catalogue_has_a_line() -> None:
    lines = [parse_line(1, written(line)) for case in CASES for line in case.lines]

    silent = [
        (failure.id, sign.core)
        for failure in CATALOGUE
        for sign in failure.signs
        if not any(sign.where == line.where and sign.pattern.search(line.text) for line in lines)
    ]

    assert silent == []


def test_a_line_that_matches_a_sign_holds_its_core() -> None:
    lines = [parse_line(1, written(line)).text for case in CASES for line in case.lines]

    assert [
        (sign.core, line)
        for failure in CATALOGUE
        for sign in failure.signs
        for line in lines
        if sign.pattern.search(line) and sign.core not in line and not _is_of_another(sign.core, line)
    ] == []


def _is_of_another(core: str, line: str) -> bool:
    """Whether `line` matches by an alternative whose core another sign of the same failure has."""
    return any(
        other.core in line
        for failure in CATALOGUE
        if any(sign.core == core for sign in failure.signs)
        for other in failure.signs
        if other.core != core
    )


def test_every_failure_has_a_case() -> None:
    known = {failure.id for failure in CATALOGUE} | {stall.id for stall in STALLS}

    assert {case.id for case in CASES} == known


@pytest.mark.parametrize("failure", CATALOGUE, ids=lambda failure: failure.id)
def test_what_a_failure_says_is_captured_by_each_of_its_signs(failure: Failure) -> None:
    templates = [failure.cause, failure.fix, failure.override if isinstance(failure.override, str) else ""]
    named = {name for text in templates for _, name, _, _ in string.Formatter().parse(text) if name} - {"model"}

    assert [sign.core for sign in failure.signs if not named <= set(sign.pattern.groupindex)] == []


def test_names_of_failures_are_words_with_hyphens_and_said_once() -> None:
    names = [failure.id for failure in CATALOGUE] + [stall.id for stall in STALLS]

    assert [name for name in names if not all(word.isalnum() and word.islower() for word in name.split("-"))] == []
    assert len(set(names)) == len(names)
