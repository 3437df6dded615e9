"""One repeat of whatever workload a configuration has."""

from __future__ import annotations

from collections.abc import Callable

from mixvllm.workload.bench.measure import run_bench
from mixvllm.workload.command import run_command
from mixvllm.workload.guidellm import run_guidellm
from mixvllm.workload.lm_eval import run_lm_eval
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.slo import run_slo
from mixvllm.workload.task import RepeatTask

_KINDS: dict[str, Callable[[RepeatTask], Measurement]] = {
    "bench": run_bench,
    "slo": run_slo,
    "command": run_command,
    "guidellm": run_guidellm,
    "lm_eval": run_lm_eval,
}


def measure_repeat(task: RepeatTask) -> Measurement:
    """Return one repeat of the workload of `task`, which is one that measures.

    Raises:
        Interrupted: a stop was asked for.
    """
    return _KINDS[task.config.workload.kind](task)
