"""Launch vLLM servers from composed, validated configuration: watched, recorded, stopped cleanly.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixvllm.config.load import compose as compose
    from mixvllm.config.profiles import load_yaml_config as load_yaml_config
    from mixvllm.config.profiles import merge_configs as merge_configs
    from mixvllm.config.schema import ExperimentConfig as ExperimentConfig
    from mixvllm.config.schema import GenerationDefaultsConfig as GenerationDefaultsConfig
    from mixvllm.config.schema import InferenceConfig as InferenceConfig
    from mixvllm.config.schema import ModelConfig as ModelConfig
    from mixvllm.config.schema import ServeConfig as ServeConfig
    from mixvllm.config.schema import ServerConfig as ServerConfig
    from mixvllm.config.schema import WorkloadConfig as WorkloadConfig
    from mixvllm.errors import ConfigError as ConfigError
    from mixvllm.errors import MixvllmError as MixvllmError
    from mixvllm.machine.gpus import GpuInfo as GpuInfo
    from mixvllm.machine.gpus import get_gpu_info as get_gpu_info
    from mixvllm.server.server import Server as Server
    from mixvllm.server.start import start_server as start_server
    from mixvllm.vllm.command import build_vllm_command as build_vllm_command

_HOMES = {
    "ConfigError": "mixvllm.errors",
    "ExperimentConfig": "mixvllm.config.schema",
    "GenerationDefaultsConfig": "mixvllm.config.schema",
    "GpuInfo": "mixvllm.machine.gpus",
    "InferenceConfig": "mixvllm.config.schema",
    "MixvllmError": "mixvllm.errors",
    "ModelConfig": "mixvllm.config.schema",
    "ServeConfig": "mixvllm.config.schema",
    "Server": "mixvllm.server.server",
    "ServerConfig": "mixvllm.config.schema",
    "WorkloadConfig": "mixvllm.config.schema",
    "build_vllm_command": "mixvllm.vllm.command",
    "compose": "mixvllm.config.load",
    "get_gpu_info": "mixvllm.machine.gpus",
    "load_yaml_config": "mixvllm.config.profiles",
    "merge_configs": "mixvllm.config.profiles",
    "start_server": "mixvllm.server.start",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mixvllm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
