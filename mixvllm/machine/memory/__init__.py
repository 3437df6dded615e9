"""Whether a model fits: arithmetic over its `config.json` and the size of its checkpoint, before a weight is read.

Pure but for `read_model_files`. Bytes everywhere; vLLM is not imported: its sources are named where a formula is.
"""

from mixvllm.machine.memory.architecture import Architecture, parse_architecture
from mixvllm.machine.memory.defaults import Batch, GpuMemory, context_length, default_model_len, resolve_batch
from mixvllm.machine.memory.files import ModelFiles, read_model_files
from mixvllm.machine.memory.fit import Change, Fit, Verdict, estimate_fit
from mixvllm.machine.memory.kv_cache import CacheLayout, plan_kv_cache
from mixvllm.machine.memory.parallel import Parallelism
from mixvllm.machine.memory.parts import Unknown
from mixvllm.machine.memory.plan import reserve_bytes
from mixvllm.machine.memory.weights import Estimate, ParameterCount, num_parameters, weights_bytes_per_gpu

__all__ = [
    "Architecture",
    "Batch",
    "CacheLayout",
    "Change",
    "Estimate",
    "Fit",
    "GpuMemory",
    "ModelFiles",
    "Parallelism",
    "ParameterCount",
    "Unknown",
    "Verdict",
    "context_length",
    "default_model_len",
    "estimate_fit",
    "num_parameters",
    "parse_architecture",
    "plan_kv_cache",
    "read_model_files",
    "reserve_bytes",
    "resolve_batch",
    "weights_bytes_per_gpu",
]
