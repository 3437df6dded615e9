"""The front of a trade-off."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from mixvllm.report.pareto import pareto_front

COSTS = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=True))


def brute_force(costs: list[tuple[float, float]]) -> set[int]:
    """Return the front by its definition."""
    known = [index for index, cost in enumerate(costs) if not any(map(math.isnan, cost))]

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    return {index for index in known if not any(dominates(costs[other], costs[index]) for other in known)}


@given(st.lists(st.tuples(COSTS, COSTS), max_size=40))
@example([(0.0, math.inf)])
@example([(0.0, math.inf), (1.0, math.inf), (1.0, 0.0)])
def test_the_front_is_what_no_other_point_dominates(costs: list[tuple[float, float]]) -> None:
    front = pareto_front(costs)

    assert set(front) == brute_force(costs)
    assert len(front) == len(set(front))
    assert [costs[index] for index in front] == sorted(costs[index] for index in front)


def test_equal_points_are_all_on_the_front() -> None:
    assert pareto_front([(1.0, 2.0), (1.0, 2.0), (1.0, 3.0)]) == [0, 1]
