"""The one schema: sections, and the whole of a run."""

from mixvllm.config.schema.experiment import ExperimentConfig, ServeConfig
from mixvllm.config.schema.generation import GenerationDefaultsConfig
from mixvllm.config.schema.inference import InferenceConfig
from mixvllm.config.schema.model import ModelConfig
from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.config.schema.server import ServerConfig
from mixvllm.config.schema.workload import WorkloadConfig

__all__ = [
    "ExperimentConfig",
    "GenerationDefaultsConfig",
    "InferenceConfig",
    "ModelConfig",
    "RuntimeConfig",
    "ServeConfig",
    "ServerConfig",
    "WorkloadConfig",
]
