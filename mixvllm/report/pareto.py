"""The points that no other point beats in both of two metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pareto_front(costs: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other one dominates, by their first cost, then by their second.

    A point dominates another where it is not worse in either cost and better in one; equal points do not dominate each
    other. A point with a cost that is not a number takes no part.

    Args:
        costs: less is better; shape (n, 2).
    """
    order = sorted(
        (index for index, (x, y) in enumerate(costs) if not (math.isnan(x) or math.isnan(y))),
        key=lambda index: costs[index],
    )
    front: list[int] = []
    for index in order:
        last = costs[front[-1]] if front else None
        if last is None or costs[index][1] < last[1] or costs[index] == last:
            front.append(index)
    return front
