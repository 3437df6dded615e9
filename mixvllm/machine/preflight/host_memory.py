"""The machine's own memory, of which vLLM's CPU build takes most for its KV cache unless it is told how much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.machine import GIB
from mixvllm.machine.gpus import DEFAULT_UTILIZATION
from mixvllm.machine.preflight.check import Check, error, ok

_NODES = Path("/sys/devices/system/node")
_COUNTS_AS_FREE = ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable")


def check_host_memory(config: ServeConfig, nodes: Path = _NODES) -> Iterator[Check]:
    """Yield whether any memory node has as much free as a server without a GPU would take.

    Source: `CPUWorker.__init__` in vllm/v1/worker/cpu_worker.py: available < total * gpu_memory_utilization. Limits of
    a cgroup, which only make it less, are left to vLLM.

    Args:
        config: validated.
        nodes: where the kernel tells of its memory nodes; nothing is said where it does not.
    """
    if config.inference.kv_cache_memory_bytes is not None:
        return
    utilization = config.inference.gpu_memory_utilization or DEFAULT_UTILIZATION
    memory = [_memory_gib(file) for file in sorted(nodes.glob("node[0-9]*/meminfo"))]
    if not memory:
        return
    free, total = max(memory, key=lambda node: node[0] / node[1] if node[1] else 0.0)
    if free >= total * utilization:
        yield ok("host memory", f"{free:.1f} of {total:.1f} GiB free")
        return
    finding = f"{free:.1f} of {total:.1f} GiB free, {total * utilization:.1f} wanted for the KV cache"
    yield error("host memory", finding, "inference=cpu, or inference.kv_cache_memory_bytes=4G")


def _memory_gib(file: Path) -> tuple[float, float]:
    """Return what is free and what there is, of lines like `Node 0 MemTotal: 97421888 kB`."""
    lines = (line.split() for line in file.read_text(encoding="ascii").splitlines())
    kib = {words[2].rstrip(":"): int(words[3]) for words in lines if len(words) > 3}
    return sum(kib.get(name, 0) for name in _COUNTS_AS_FREE) * 1024 / GIB, kib.get("MemTotal", 0) * 1024 / GIB
