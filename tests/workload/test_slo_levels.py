"""The highest level that holds: doubled, halved, and seen twice, of servers that are simulated."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm.workload.slo_levels import Found, Levels, Measure, Missed, Step, next_move

RATE = Levels(1.0, 1024.0, 0.1)
CONCURRENCY = Levels(1.0, 256.0, 0.05, is_whole=True)
MAX_STEPS = 100


def search(levels: Levels, holds: Callable[[float, int], bool]) -> tuple[Found | Missed, list[Step]]:
    """Return the answer and all steps; `holds` is asked with a level and the number of the step."""
    steps: list[Step] = []
    while isinstance(move := next_move(steps, levels), Measure):
        steps.append(Step(move.level, holds(move.level, len(steps))))
        assert len(steps) < MAX_STEPS
    return move, steps


def levels_of(steps: list[Step]) -> list[float]:
    return [step.level for step in steps]


HISTORIES: list[tuple[str, Levels, str, Measure | Found | Missed]] = [
    ("begins with the lowest level", RATE, "", Measure(1)),
    ("doubles while targets hold", RATE, "1+ 2+ 4+", Measure(8)),
    ("does not exceed the highest level", Levels(1, 6, 0.1), "1+ 2+ 4+", Measure(6)),
    ("halves the gap to a level that misses", RATE, "1+ 2+ 4+ 8-", Measure(6)),
    ("halves it again above one that holds", RATE, "1+ 2+ 4+ 8- 6+", Measure(7)),
    ("sees the best one again where the gap is small", RATE, "1+ 2+ 4+ 8- 6- 5+ 5.5-", Measure(5)),
    ("has found it where it held again", RATE, "1+ 2+ 4+ 4.2- 4+", Found(4)),
    ("goes on below where it did not", RATE, "1+ 2+ 4+ 4.2- 4-", Measure(3)),
    ("does not ask for a level that held twice once more", Levels(1, 4, 0.5), "1+ 2+ 4+ 4- 3- 2+", Found(2)),
    ("takes a miss below for a miss above", RATE, "1+ 2+ 4+ 8+ 4-", Measure(3)),
    ("sees the highest level again", Levels(1, 2, 0.1), "1+ 2+", Measure(2)),
    ("says that nothing missed", Levels(1, 2, 0.1), "1+ 2+ 2+", Found(2, is_highest=True)),
    ("forgives the first step", RATE, "1-", Measure(1)),
    ("does not forgive the second", RATE, "1- 1-", Missed()),
    ("goes on where the first alone missed", RATE, "1- 1+", Measure(2)),
    ("misses where the lowest level does not hold again", Levels(1, 1, 0.1), "1+ 1-", Missed()),
    ("takes whole steps", CONCURRENCY, "1+ 2+ 4+ 8-", Measure(6)),
    ("ends between neighbours", CONCURRENCY, "1+ 2+ 4+ 8- 6- 5+", Measure(5)),
]


@pytest.mark.parametrize(("rule", "levels", "history", "expected"), HISTORIES, ids=[row[0] for row in HISTORIES])
def test_the_next_move_follows_from_what_was_measured(
    rule: str, levels: Levels, history: str, expected: Measure | Found | Missed
) -> None:
    steps = [Step(float(text[:-1]), text[-1] == "+") for text in history.split()]

    assert next_move(steps, levels) == expected


@given(capacity=st.floats(1, 1000))
def test_the_level_found_is_as_near_to_the_capacity_as_asked(capacity: float) -> None:
    found, _ = search(RATE, lambda level, _: level <= capacity)

    assert isinstance(found, Found)
    assert found.level <= capacity < found.level * 1.1 * 1.001  # a level has four digits


@given(capacity=st.integers(1, 255))
def test_a_concurrency_is_found_exactly_or_as_near_as_asked(capacity: int) -> None:
    found, _ = search(CONCURRENCY, lambda level, _: level <= capacity)

    assert isinstance(found, Found)
    assert found.level.is_integer()
    assert capacity - found.level < max(1, 0.05 * capacity)


@given(luck=st.lists(st.booleans(), max_size=MAX_STEPS))
def test_a_noisy_server_is_given_a_level_that_held_twice(luck: list[bool]) -> None:
    answers = [*luck, *[True] * MAX_STEPS]
    found, steps = search(RATE, lambda level, number: level <= 30 or (level <= 60 and answers[number]))

    assert isinstance(found, Found)
    assert steps.count(Step(found.level, True)) == 2
    assert Step(found.level, False) not in steps


def test_few_steps_are_taken() -> None:
    _, steps = search(RATE, lambda level, _: level <= 100)

    assert levels_of(steps) == [1, 2, 4, 8, 16, 32, 64, 128, 96, 112, 104, 96]
