"""One repeat of whatever workload a configuration has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mixvllm.config.schema import ExperimentConfig
from mixvllm.server.server import Server
from mixvllm.workload.bench.generator import LoadGenerator
from mixvllm.workload.bench.measure import run_bench
from mixvllm.workload.command import run_command
from mixvllm.workload.guidellm import run_guidellm
from mixvllm.workload.lm_eval import run_lm_eval
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.slo import run_slo


class _Measure(Protocol):
    def __call__(
        self,
        config: ExperimentConfig,
        server: Server,
        generator: LoadGenerator,
        folder: Path,
        repeat: int,
        should_stop: Callable[[], bool],
    ) -> Measurement: ...


_KINDS: dict[str, _Measure] = {
    "bench": run_bench,
    "slo": run_slo,
    "command": run_command,
    "guidellm": run_guidellm,
    "lm_eval": run_lm_eval,
}


def measure_repeat(
    config: ExperimentConfig,
    server: Server,
    generator: LoadGenerator,
    folder: Path,
    repeat: int,
    should_stop: Callable[[], bool],
) -> Measurement:
    """Return one repeat of the workload of `config`, which is one that measures; see `run_bench`.

    Raises:
        Interrupted: `should_stop` said so.
    """
    return _KINDS[config.workload.kind](config, server, generator, folder, repeat, should_stop)
