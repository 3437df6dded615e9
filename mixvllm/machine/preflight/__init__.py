"""What this machine would make of a configuration, before anything is started on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mixvllm.config.schema import ServeConfig
from mixvllm.machine.gpus import GpuInfo, get_gpu_info
from mixvllm.machine.preflight.advisories import check_advisories
from mixvllm.machine.preflight.check import Check
from mixvllm.machine.preflight.devices import check_devices, serving_gpus
from mixvllm.machine.preflight.engine import check_engine
from mixvllm.machine.preflight.host_memory import check_host_memory
from mixvllm.machine.preflight.limits import check_limits
from mixvllm.machine.preflight.nodes import check_nodes
from mixvllm.machine.preflight.runtime import check_runtime
from mixvllm.machine.preflight.weights import check_weights, model_folder


def run_preflight(
    config: ServeConfig,
    *,
    version: str,
    is_cpu: bool,
    python: str,
    environment: Mapping[str, str],
    is_serving: bool = False,
) -> list[Check]:
    """Look at everything that a server of `config` needs of this machine; nothing is started or fetched.

    Args:
        config: validated.
        version: of the vLLM that will serve.
        is_cpu: whether that is the CPU build.
        python: its interpreter.
        environment: what the server will have.
        is_serving: whether a server that this one replaces holds its GPUs still; they count as free then.
    """
    info = GpuInfo() if is_cpu else get_gpu_info()
    if is_serving:
        info = GpuInfo(tuple(replace(gpu, free_memory_gib=gpu.total_memory_gib, processes=()) for gpu in info.gpus))
    return [
        *check_runtime(config),
        *check_engine(config, version, python),
        *check_advisories(config, version),
        *check_nodes(config, environment),
        *(check_host_memory(config) if is_cpu else check_devices(config, info, environment)),
        *check_weights(config, environment),
        *_check_fit(config, info, environment),
        *check_limits(config, environment),
    ]


def _check_fit(config: ServeConfig, info: GpuInfo, environment: Mapping[str, str]) -> Iterable[Check]:
    gpus = serving_gpus(config, info, environment)
    if not gpus and config.model.num_attention_heads is not None:
        return ()  # the heads were looked at with the configuration, and there is no GPU to fill
    from mixvllm.machine.preflight.fit import check_fit

    return check_fit(config, model_folder(config, environment), gpus)


__all__ = ["Check", "run_preflight"]
