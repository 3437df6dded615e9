"""Random faults of a cluster under a sweep: jobs that are cancelled, nodes that die, jobs that are preempted.

What is drawn follows from the seed alone; which job or node is hit also from how the cluster is at that moment.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tests.slurm.cluster import Cluster
from tests.slurm.submitted import SubmittedSweep
from tests.sweep.sweeps import command

Kind = Literal["scancel", "node killed", "preempted"]

_SERVERS = (8, 16, 32, 64)
_NUM_REPEATS = 4  # at first, and as many more whenever all are done before all faults have happened
_MAX_PAUSE_S = 3.0  # between the moment when a job runs and the fault
_ROUND_S = 120.0  # for the launcher, once nothing disturbs it
_EMPTY_S = 20.0  # for what was stopped to be gone
_TICK_S = 0.1


@dataclass(frozen=True)
class ClusterFault:
    """One thing that happens.

    Args:
        kind: what.
        pause_s: seconds from the moment when a job runs.
        pick: of the jobs, or nodes, that there are then; in [0, 1).
    """

    kind: Kind
    pause_s: float
    pick: float

    def choose(self, those: Sequence[str]) -> str:
        """Return the one that it happens to."""
        return those[int(self.pick * len(those))]


def draw(seed: int, number: int) -> list[ClusterFault]:
    """Return `number` faults, each kind equally often, in random order."""
    chance = random.Random(seed)  # noqa: S311 - a seed draws it again
    kinds = (get_args(Kind) * (number // len(get_args(Kind)) + 1))[:number]
    shuffled = chance.sample(kinds, number)
    return [ClusterFault(kind, chance.uniform(0, _MAX_PAUSE_S), chance.random()) for kind in shuffled]


class DisturbedSweep:
    """A sweep of the fake over four servers, under faults, resumed until it is whole.

    Args:
        cluster: of two nodes or more, which the environment leads to.
        folder: for all that it writes.
        say: told what happens.
    """

    def __init__(self, cluster: Cluster, folder: Path, say: Callable[[str], None] = print) -> None:
        self._cluster = cluster
        self._folder = folder
        self._say = say
        self._launches: list[SubmittedSweep] = []
        self._num_repeats = _NUM_REPEATS

    def suffer(self, faults: Sequence[ClusterFault]) -> list[str]:
        """Have the faults happen; return what is wrong when the sweep is whole, or cannot be."""
        try:
            self._launch()
            for number, fault in enumerate(faults, start=1):
                victim = self._happen(fault)
                self._say(f"{number}: {fault.kind} after {fault.pause_s:.2f} s: {victim}")
            self._finish()
            return self._wrong()
        finally:
            for launch in self._launches:
                launch.end()

    @property
    def num_launches(self) -> int:
        """How often it was started: once, and resumed."""
        return len(self._launches)

    @property
    def num_measured(self) -> int:
        """How many repeats there are."""
        return len(_SERVERS) * self._num_repeats

    def _launch(self) -> None:
        grid = [f"inference.max_num_seqs={','.join(map(str, _SERVERS))}", f"workload.repeats={self._num_repeats}"]
        own = ["hydra.launcher.max_requeues=100", command("sleep 1")]
        self._launches.append(SubmittedSweep(self._folder, [*grid, *own], {}, number=len(self._launches)))

    def _happen(self, fault: ClusterFault) -> str:
        """Have a fault happen to something that runs; return what it is."""
        self._wait_running()
        time.sleep(fault.pause_s)
        running = self._wait_running()
        job, node = fault.choose(sorted(running.items()))
        if fault.kind == "scancel":
            self._cluster.run("scancel", job)
            return job
        if fault.kind == "node killed":
            self._cluster.kill_node(node)
            self._cluster.start_node(node)
        else:
            preemptor = self._cluster.preempt(node, "sleep 0.2")
            self._cluster.wait_state(preemptor, "COMPLETED", "CANCELLED")
        return node

    def _wait_running(self) -> dict[str, str]:
        """Return the nodes of the jobs that run, when there is one; the sweep is resumed where it has ended."""
        deadline = time.monotonic() + _ROUND_S
        while time.monotonic() < deadline:
            lines = self._cluster.run("squeue", "-h", "-r", "-p", "main", "-t", "R", "-o", "%i %N").splitlines()
            if lines:
                return dict(line.split() for line in lines)
            if self._launches[-1].launch.process.poll() is not None:
                if self._num_missing() == 0:
                    self._num_repeats += _NUM_REPEATS
                self._launch()
            time.sleep(_TICK_S)
        raise AssertionError(f"no job runs: {self._cluster.states()}\n{self._launches[-1].launch.stderr}")

    def _finish(self) -> None:
        """Return when the launcher has ended with all measured; it is resumed where it has not measured all."""
        deadline = time.monotonic() + _ROUND_S
        while time.monotonic() < deadline:
            if self._launches[-1].launch.process.poll() is not None:
                if self._num_missing() == 0:
                    return
                self._launch()
            time.sleep(_TICK_S)

    def _num_missing(self) -> int:
        return self.num_measured - len(self._launches[-1].records())

    def _wrong(self) -> list[str]:
        """Return what is not as it has to be."""
        last = self._launches[-1]
        ended = last.launch.process.poll()
        bad = [record for record in last.records() if record["verdict"] != "ok"]
        deadline = time.monotonic() + _EMPTY_S
        while (left := self._cluster.left()) and time.monotonic() < deadline:
            time.sleep(_TICK_S)
        return [
            *([] if ended == 0 else [f"the launcher ended with {ended}: {last.launch.stderr[-2000:]}"]),
            *([f"{self._num_missing()} repeats have no result"] if self._num_missing() else []),
            *(
                f"{record['point']} repeat {record['repeat']}: {record['verdict']}: {record['reason']}"
                for record in bad
            ),
            *(f"left: process {process}" for process in left),
        ]
