"""Chooses the workload of a configuration and runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.server.service import Service
from mixvllm.workload.serve import serve


def run_workload(
    config: ExperimentConfig, service: Service, should_stop: Callable[[], bool], tick: Callable[[], None]
) -> dict[str, Any]:
    """Return the figures of the workload of `config`, done with the server of `service`, which is ready.

    `tick` is called again and again by a workload without an end.

    Raises:
        ServerFailed: the server failed meanwhile.
        WorkloadFailed: the server serves, the workload got no good answer.
        Interrupted: `should_stop` said so before the work was done.
    """
    if config.workload.kind == "probe":
        from mixvllm.workload.probe import probe  # needs an HTTP client, which must not hold up the start

        return probe(config, service.server, should_stop)
    if config.workload.is_measured:
        from mixvllm.workload.measured import measure

        return measure(config, service, should_stop)
    return serve(service, should_stop, tick)
