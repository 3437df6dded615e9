"""What Slurm says of jobs, kept for a while: sites mind how often they are asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from mixvllm.cluster.limits import read_limits
from mixvllm.cluster.queue import Job, read_queue
from mixvllm.cluster.slurm import SlurmUnreachable

_FIRST_S = 1.0
_MAX_S = 10.0
_LATER = 1.5  # each time as much longer as the time before


class QueueView:
    """Asks Slurm for all jobs at once, when the first of them is wanted, and again after a second, later ten.

    Args:
        clock: seconds that never jump.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wanted: set[str] = set()
        self._asked: set[str] = set()
        self._jobs: dict[str, Job] = {}
        self._error: SlurmUnreachable | None = None
        self._fresh_until = 0.0
        self._period_s = _FIRST_S
        self._own_cluster: str | None = None

    def want(self, job_ids: Iterable[str]) -> None:
        """Have the next question be for these, too."""
        self._wanted.update(job_ids)

    def job(self, job_id: str, cluster: str | None) -> Job | None:
        """Return a job; None where it has ended, and nobody knows how.

        Args:
            cluster: that the job was submitted to; None where that was not noted.

        Raises:
            SlurmUnreachable: there is no answer, or one of another cluster.
        """
        self._wanted.add(job_id)
        if not self._wanted <= self._asked or self._clock() >= self._fresh_until:
            self._ask()
        if self._error is not None:
            raise self._error
        found = self._jobs.get(job_id)
        answering = found.cluster if found is not None else self._asked_cluster()
        if cluster and answering and answering != cluster:
            where = f"its job {job_id} is on the cluster {cluster}, and the one that answers here is {answering}"
            raise SlurmUnreachable(f"{where}\n  next: ask on a login node of {cluster}")
        return found

    def forget(self) -> None:
        """Ask anew at the next question."""
        self._fresh_until, self._period_s = 0.0, _FIRST_S

    def _ask(self) -> None:
        self._error = None
        self._asked = set(self._wanted)
        try:
            self._jobs = read_queue(self._asked)
        except SlurmUnreachable as error:
            self._error = error
        self._fresh_until = self._clock() + self._period_s
        self._period_s = min(self._period_s * _LATER, _MAX_S)

    def _asked_cluster(self) -> str | None:
        self._own_cluster = self._own_cluster or read_limits().cluster
        return self._own_cluster
