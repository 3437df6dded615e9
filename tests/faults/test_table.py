"""The table of this package names tests that are there, and all of this package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tests.faults

TESTS = Path(__file__).parents[1]
NAMED = sorted(set(re.findall(r"\b(\w+(?:/\w+)*/test_\w+)(?:::(test_\w+))?", tests.faults.__doc__ or "")))


@pytest.mark.parametrize(("module", "test"), NAMED)
def test_what_is_named_is_there(module: str, test: str) -> None:
    assert f"def {test}(" in (TESTS / f"{module}.py").read_text() if test else (TESTS / f"{module}.py").exists()


def test_every_module_of_this_package_is_named() -> None:
    modules = {f"faults/{path.stem}" for path in Path(__file__).parent.glob("test_*.py")} - {"faults/test_table"}

    assert modules - {module for module, _ in NAMED} == set()
