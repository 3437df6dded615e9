"""What a server will take of each GPU: weights, working memory, and a KV cache in what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mixvllm.config.schema import InferenceConfig
from mixvllm.config.schema.fields import human_int_value
from mixvllm.machine import GIB
from mixvllm.machine.gpus import DEFAULT_UTILIZATION
from mixvllm.machine.memory.architecture import Architecture, parse_architecture
from mixvllm.machine.memory.defaults import (
    Batch,
    GpuMemory,
    context_length,
    default_model_len,
    resolve_batch,
)
from mixvllm.machine.memory.files import ModelFiles
from mixvllm.machine.memory.kv_cache import DEFAULT_BLOCK_SIZE, CacheLayout, plan_kv_cache
from mixvllm.machine.memory.parallel import Parallelism
from mixvllm.machine.memory.parts import Unknown
from mixvllm.machine.memory.weights import Estimate, weights_bytes_per_gpu


@dataclass(frozen=True)
class Plan:
    """Everything that a verdict rests on.

    Args:
        reserve: assumed working memory, bytes.
        max_model_len: tokens; None = the longest that fits.
        context_length: the longest that the model declares, tokens.
    """

    inference: InferenceConfig
    gpu: GpuMemory
    architecture: Architecture
    weights: Estimate
    layout: CacheLayout
    reserve: int
    max_model_len: int | None
    context_length: int

    @property
    def budget(self) -> int:
        """Bytes of each GPU that the engine may use.

        Source: `request_memory` in vllm/v1/worker/utils.py, 0.32.
        """
        return math.ceil(self.gpu.total_bytes * self.utilization)

    @property
    def utilization(self) -> float:
        """Fraction of each GPU that the engine may use."""
        return self.inference.gpu_memory_utilization or DEFAULT_UTILIZATION

    @property
    def stated_room(self) -> int | None:
        """Bytes of KV cache that the configuration names itself."""
        stated = self.inference.kv_cache_memory_bytes
        return None if stated is None else human_int_value(stated)

    @property
    def needed(self) -> int:
        """Bytes that the fullest GPU takes without the KV cache."""
        return max(self.weights.by_stage) + self.reserve

    @property
    def room(self) -> tuple[int, ...]:
        """Bytes left for the KV cache on one GPU of each pipeline stage; may be negative.

        Source: `determine_available_memory` in vllm/v1/worker/gpu_worker.py, 0.32.
        """
        if self.stated_room is not None:
            return (self.stated_room,) * len(self.weights.by_stage)
        return tuple(self.budget - num_bytes - self.reserve for num_bytes in self.weights.by_stage)

    @property
    def num_blocks(self) -> int:
        """Blocks of the KV cache."""
        return self.layout.num_blocks(self.room)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that fits alone, up to the context or what is asked for."""
        return self.layout.longest_sequence(self.num_blocks, max(self.context_length, self.max_model_len or 0))


def make_plan(files: ModelFiles, inference: InferenceConfig, gpu: GpuMemory) -> Plan | Unknown:
    """Return what a server of this model will take, or why that is not known."""
    files = files.with_overrides(inference.hf_overrides)
    architecture, context = parse_architecture(files.config), context_length(files.config)
    if isinstance(architecture, Unknown):
        return architecture
    if context is None:
        return Unknown("config.json has no max_position_embeddings")
    weights = estimate_weights(files, inference)
    if weights.num_bytes is None:
        return Unknown(weights.basis)
    max_model_len = _max_model_len(files, inference)
    batch = resolve_batch(inference, gpu, max_model_len or context)
    layout = _layout(files, inference, batch)
    if isinstance(layout, Unknown):
        return layout
    reserve = reserve_bytes(architecture, batch, inference.tensor_parallel_size, inference.enforce_eager is True)
    return Plan(inference, gpu, architecture, weights, layout, reserve, max_model_len, context)


def estimate_weights(files: ModelFiles, inference: InferenceConfig) -> Estimate:
    """Return the weights on one GPU, less what stays in host memory."""
    weights = weights_bytes_per_gpu(files, inference.dtype, inference.quantization, _parallelism(inference))
    offloaded = int((inference.cpu_offload_gb or 0) * GIB)
    return replace(weights, by_stage=tuple(max(0, num_bytes - offloaded) for num_bytes in weights.by_stage))


def reserve_bytes(
    architecture: Architecture, batch: Batch, tensor_parallel_size: int = 1, enforce_eager: bool = False
) -> int:
    """Return the working memory that is assumed on one GPU, bytes.

    An assumption: 0.5 GiB for libraries, 0.75 GiB for CUDA graphs, two bytes for each of four hidden and three MLP
    values of every token in a step, and eight bytes for each logit of every sequence. For Llama 3.1 8B on an A100
    that is 1.72 GiB, and vLLM 0.31 logs 1.70. Other single GPUs logged 0.8 to 3 GiB, mixtures of experts on several
    GPUs up to 11.

    Source: what `determine_available_memory` and `profile_run` in vllm/v1/worker, 0.32, measure.
    """
    graphs = 0 if enforce_eager else 3 * GIB // 4
    width = 4 * architecture.hidden_size + 3 * architecture.mlp_width // tensor_parallel_size
    return GIB // 2 + graphs + 2 * batch.num_tokens * width + 8 * batch.num_seqs * architecture.vocab_size


def _parallelism(inference: InferenceConfig) -> Parallelism:
    return Parallelism(
        inference.tensor_parallel_size,
        inference.pipeline_parallel_size,
        inference.data_parallel_size,
        inference.enable_expert_parallel is True,
    )


def _layout(files: ModelFiles, inference: InferenceConfig, batch: Batch) -> CacheLayout | Unknown:
    return plan_kv_cache(
        files.config,
        inference.kv_cache_dtype,
        inference.dtype,
        _parallelism(inference),
        block_size=inference.block_size or DEFAULT_BLOCK_SIZE,
        max_in_flight_tokens=batch.num_in_flight * batch.num_tokens,
    )


def _max_model_len(files: ModelFiles, inference: InferenceConfig) -> int | None:
    asked = inference.max_model_len
    if asked in (-1, "auto"):
        return None
    return default_model_len(files.config) if asked is None else human_int_value(asked)
