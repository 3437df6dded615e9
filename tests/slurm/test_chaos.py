"""A sweep that a cluster disturbs at random ends with all results, and leaves nothing."""

from __future__ import annotations

import random
from pathlib import Path

from tests.slurm.chaos import DisturbedSweep, draw
from tests.slurm.cluster import Cluster

_NUM_FAULTS = 6


def test_jobs_cancelled_preempted_or_without_a_node_lose_no_result(slurm: Cluster, tmp_path: Path) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    print(f"seed {seed}")

    wrong = DisturbedSweep(slurm, tmp_path / "sweeping").suffer(draw(seed, _NUM_FAULTS))

    assert wrong == []
