"""A run by itself that measures: all repeats on one server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import WorkloadFailed
from mixvllm.runs.files import write_json
from mixvllm.server.service import Service
from mixvllm.workload.generator import LoadGenerator, generator_environment, generator_wrapper
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.repeat import measure_repeat
from mixvllm.workload.summary import summarize
from mixvllm.workload.task import RepeatTask


def measure(config: ExperimentConfig, service: Service, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Return the figures of all repeats, see `summarize`; each is in `measured/repeat-<k>.json` as soon as it is done.

    Raises:
        ServerFailed: the server failed meanwhile; what was measured before is in the folder.
        WorkloadFailed: no repeat is valid.
        Interrupted: `should_stop` said so.
    """
    server, installation = service.server, service.deployment.installation
    folder = server.folder.path / "measured"
    folder.mkdir(mode=0o700, exist_ok=True)
    environment = generator_environment(config, installation)
    # A single measurement costs an import either way.
    is_warm = config.workload.uses_bench and (config.workload.repeats > 1 or config.workload.kind == "slo")
    done: list[Measurement] = []
    wrapper = generator_wrapper(config)
    with LoadGenerator(installation, environment, folder, is_warm=is_warm, wrapper=wrapper) as generator:
        for repeat in range(config.workload.repeats):
            done.append(measure_repeat(RepeatTask(config, server, generator, folder, repeat, should_stop)))
            write_json(folder / f"repeat-{repeat}.json", done[-1].record())
            if done[-1].error is not None:
                raise done[-1].error
    _raise_if_none_is_ok(done, folder)
    return summarize(done)


def _raise_if_none_is_ok(done: list[Measurement], folder: Path) -> None:
    if any(one.verdict == "ok" for one in done):
        return
    reasons = dict.fromkeys(f"{one.verdict}: {one.reason}" for one in done)
    raise WorkloadFailed("\n".join([f"none of {len(done)} repeats is valid", *reasons, f"  see: {folder}"]))
