"""Chooses the workload of a configuration and runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.server.server import Server
from mixvllm.workload.serve import serve


def run_workload(config: ExperimentConfig, server: Server, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Return the figures of the workload of `config`, done with `server`, which is ready.

    Raises:
        ServerDied: the server ended meanwhile.
        WorkloadFailed: the server serves, the workload got no good answer.
        Interrupted: `should_stop` said so before the work was done.
    """
    if config.workload.kind == "probe":
        from mixvllm.workload.probe import probe  # needs an HTTP client, which must not hold up the start

        return probe(config, server, should_stop)
    return serve(server, should_stop)
