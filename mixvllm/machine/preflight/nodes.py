"""The nodes of a server that spans several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import PreflightFailed
from mixvllm.machine.nodes import num_allocated_nodes, own_address
from mixvllm.machine.preflight.check import Check, error, ok


def check_nodes(config: ServeConfig, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield what is to be said of the nodes that this process has, and of the way between them."""
    needed, interface = config.inference.nnodes, config.server.interface
    if needed > 1:
        found = num_allocated_nodes(environment)
        finding = f"{found} here, {needed} needed (inference.nnodes)"
        if found < needed:
            yield error("nodes", finding, "submit=slurm, or --multirun hydra/launcher=slurm")
            return
        yield ok("nodes", finding)
    if needed > 1 or interface is not None:
        try:
            address, _ = own_address(interface)
        except PreflightFailed as problem:
            finding, _, mend = str(problem).partition("\n  next: ")
            yield error("interface", finding, mend)
        else:
            yield ok("interface", f"other nodes reach this one at {address}")
