"""What the measurement of one repeat is given, whatever measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import Interrupted, WorkloadFailed
from mixvllm.server.server import Server
from mixvllm.workload.generator import LoadGenerator
from mixvllm.workload.measurement import seed_of
from mixvllm.workload.programs import Ended, end_of_log
from mixvllm.workload.span import Span


@dataclass(frozen=True)
class RepeatTask:
    """One repeat that is to be measured.

    Args:
        config: validated.
        server: ready.
        generator: runs the programs that measure.
        folder: for the files of all repeats; exists.
        repeat: counted from 0.
        should_stop: asked again and again.
    """

    config: ExperimentConfig
    server: Server
    generator: LoadGenerator
    folder: Path
    repeat: int
    should_stop: Callable[[], bool]

    @property
    def seed(self) -> int:
        """Of its requests."""
        return seed_of(self.config.workload, self.repeat)

    def begin(self) -> Span:
        """Return the repeat, which begins now."""
        return Span(self.server, self.repeat, self.seed)

    def must_end(self) -> bool:
        """Whether the program that measures is to be ended.

        Raises:
            ServerFailed: the server failed meanwhile.
        """
        self.server.check()
        return self.should_stop()

    def check_ended(self, program: str, ended: Ended, log: Path) -> None:
        """Return where the program of that name has done its work.

        Raises:
            Interrupted: it was stopped before.
            WorkloadFailed: it was late, or failed.
        """
        if ended.was_stopped:
            raise Interrupted(f"stopped before {program} was done")
        where = f"\n  log: {log}\n{end_of_log(log)}"
        if ended.is_late:
            raise WorkloadFailed(f"not done in workload.timeout_s={self.config.workload.timeout_s:g}{where}")
        if ended.status != 0:
            raise WorkloadFailed(f"{program} ended with status {ended.status}{where}")
