"""What is published of an old vLLM is told by name, and keeps it from being opened to others."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm import ServeConfig
from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.machine.preflight import run_preflight
from mixvllm.machine.preflight.advisories import EFFECTS, advisories, check_advisories
from mixvllm.machine.preflight.check import Check
from mixvllm.machine.preflight.engine import OLDEST_SAFE_TO_OPEN, release_numbers

EVERY = [one.id for one in advisories()]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config(**sections: Any) -> ServeConfig:
    return ServeConfig.model_validate({"model": {"name": "some/model"}, **sections})


def checks(version: str, host: str = "127.0.0.1") -> list[Check]:
    return list(check_advisories(config(server={"host": host}), version))


@pytest.mark.parametrize(
    ("version", "host", "verdicts"),
    [
        ("0.32.0", "0.0.0.0", []),
        ("0.32.0+cpu", "127.0.0.1", []),
        ("0.33.1", "0.0.0.0", []),
        ("0.31.0", "0.0.0.0", ["warning"]),
        ("0.24.0", "0.0.0.0", ["warning"]),
        ("0.23.0", "127.0.0.1", ["warning"]),
        ("0.23.0", "0.0.0.0", ["error"]),
        ("0.6.3.post1", "0.0.0.0", ["error"]),
        ("dev", "0.0.0.0", []),
    ],
)
def test_an_old_release_is_warned_of_and_refused_where_others_reach_it(
    version: str, host: str, verdicts: list[str]
) -> None:
    assert [check.verdict for check in checks(version, host)] == verdicts


@pytest.mark.parametrize(
    ("version", "named", "not_named"),
    [
        ("0.31.0", ["CVE-2026-115918", "CVE-2026-115911"], ["CVE-2026-114049", "CVE-2026-48746", "CVE-2024-9053"]),
        ("0.30.1", ["CVE-2026-114049", "CVE-2026-114053"], ["CVE-2026-105757", "PYSEC-2026-4353"]),
        ("0.21.0", ["CVE-2026-48746", "CVE-2026-47155"], ["CVE-2026-44222", "PYSEC-2026-4350"]),
        ("0.22.1", ["PYSEC-2026-4350"], ["CVE-2026-48746"]),
        ("0.10.1", ["CVE-2025-9141"], ["CVE-2025-62164"]),
        ("0.10.1.1", ["CVE-2026-22807"], ["CVE-2025-9141"]),
    ],
)
def test_an_advisory_is_named_from_the_first_release_that_has_it_to_the_last(
    version: str, named: list[str], not_named: list[str]
) -> None:
    (check,) = checks(version)

    assert [one for one in named + not_named if one in check.finding] == named


def test_the_worst_comes_first_and_the_change_that_mends_it_is_told() -> None:
    (check,) = checks("0.21.0", "0.0.0.0")

    assert check.finding.startswith(
        "vLLM 0.21.0 has 16 published vulnerabilities: the API key does not keep others out (CVE-2026-48746); "
        "code of others is run (CVE-2026-41523, CVE-2026-47155, CVE-2026-114053); "
    )
    assert check.mend == "pip install -U vllm, or server.host=127.0.0.1"


def test_what_no_release_is_known_to_fix_is_told_apart() -> None:
    (check,) = checks("0.21.0")

    assert check.finding.partition("not known to be fixed in it (")[2].startswith("CVE-2024-9053, CVE-2024-11041, ")


def test_every_entry_is_whole_and_there_once() -> None:
    assert len(set(EVERY)) == len(EVERY)
    for one in advisories():
        assert one.effect in EFFECTS
        assert one.what
        assert one.affected_from < (one.fixed or OLDEST_SAFE_TO_OPEN) <= release_numbers(SUPPORTED_RELEASE)


def test_every_effect_stands_for_something() -> None:
    assert {one.effect for one in advisories()} == set(EFFECTS)


def test_a_release_that_may_be_opened_has_no_way_past_the_key() -> None:
    assert [one.id for one in advisories() if one.effect == "key" and one.applies_to(OLDEST_SAFE_TO_OPEN)] == []


@pytest.mark.parametrize(
    ("model", "finding"),
    [
        ({"trust_remote_code": True, "revision": "main"}, "model.revision=main can be moved to other code"),
        (
            {"trust_remote_code": True, "revision": COMMIT, "code_revision": "v1"},
            "model.code_revision=v1 can be moved to other code",
        ),
        ({"trust_remote_code": True, "revision": COMMIT}, None),
        ({"trust_remote_code": True, "revision": "main", "trust_unpinned_code": True}, None),
        ({"trust_remote_code": True, "name": "/models/mine"}, None),
        ({"revision": "main"}, None),
    ],
)
def test_trusted_code_behind_a_name_that_can_move_is_warned_of(model: dict[str, Any], finding: str | None) -> None:
    found = list(check_advisories(config(model={"name": "some/model", **model}), "0.32.0"))

    assert [(check.verdict, check.finding) for check in found] == ([("warning", finding)] if finding else [])


def test_a_preflight_tells_of_them() -> None:
    found = run_preflight(config(), version="0.31.0", is_cpu=True, python="python", environment={})

    assert [check.verdict for check in found if check.subject == "advisories"] == ["warning"]
