"""Whatever the wall clock does, nothing waits longer, or gives up sooner, for it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mixvllm.server.liveness import HangRule, Look

SERVER = Path(__file__).parents[2] / "mixvllm" / "server"

OF_FILES = {"fleet.py", "remains.py"}
"""Compare the time with that of files, which is the wall clock's."""

BUSY = Look(200, progress=(1.0,))


@pytest.mark.parametrize("module", sorted(path.name for path in SERVER.glob("*.py") if path.name not in OF_FILES))
def test_durations_are_measured_by_a_clock_that_never_jumps(module: str) -> None:
    tree = ast.parse((SERVER / module).read_text())

    differences = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp | ast.Compare | ast.AugAssign)]
    assert [text for text in map(ast.unparse, differences) if "time.time" in text or "datetime" in text] == []


def test_a_moment_does_not_matter_to_the_rule_of_a_hang_but_what_lies_between_two() -> None:
    told = []
    for began in (0.0, 1e9):
        rule = HangRule(timeout_s=120, now=began)
        for second in range(300):
            rule.note(BUSY._replace(progress=(min(second, 100.0),)), began + second)
            told.append((second, rule.must_prove(began + second), rule.unanswered_s(began + second)))

    assert told[:300] == told[300:]
    assert [must for _, must, _ in told[:300]].index(True) == 220


def test_a_time_in_which_nobody_looked_is_left_out() -> None:
    rule = HangRule(timeout_s=120, now=0)
    rule.note(BUSY._replace(engines={"0": (1.0,)}), 10)

    rule.pass_over(3600)

    now = 3700
    assert (rule.must_prove(now), rule.unanswered_s(now), rule.stuck_engine(now)) == (False, None, None)
    assert (rule.must_prove(now + 60), rule.unanswered_s(now + 60)) == (True, 150)
