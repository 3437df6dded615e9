"""How many weights a model has, and the memory they take on each GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.machine.memory.architecture import Architecture, parse_architecture
from mixvllm.machine.memory.files import ModelFiles
from mixvllm.machine.memory.parallel import Parallelism, split_layers
from mixvllm.machine.memory.parts import Part, Unknown
from mixvllm.machine.memory.storage import Storage, checkpoint_storage, served_storage

_INDEX = "the size of the checkpoint"
_CONFIG = "counted from config.json"


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model.

    Args:
        total: of the main model and its vision encoder, without multi-token prediction layers; None = not known.
        active: those that take part in one token of text, embedding and output projection in full; None = not known.
        reason: why something is not known.
    """

    total: int | None
    active: int | None
    reason: str = ""


@dataclass(frozen=True)
class Estimate:
    """Bytes on one GPU.

    Args:
        by_stage: for each pipeline stage, shape (pipeline_parallel_size,); empty = not known.
        basis: what the number rests on, or why there is none.
    """

    by_stage: tuple[int, ...]
    basis: str

    @property
    def num_bytes(self) -> int | None:
        """Bytes on the fullest GPU."""
        return max(self.by_stage, default=None)


def num_parameters(config: Mapping[str, Any]) -> ParameterCount:
    """Return how many parameters the model of a `config.json` has.

    Source: the shapes of vLLM's model classes, see `parse_architecture`.
    """
    architecture = parse_architecture(config)
    if isinstance(architecture, Unknown):
        return ParameterCount(None, None, architecture.reason)
    if architecture.vision is None:
        return ParameterCount(None, None, "the size of the vision encoder is not known")
    parts = _parts(architecture)
    total = sum(part.num_parameters for part in parts)
    routed = sum(part.num_parameters for part in parts if part.sharing == "experts")
    chosen = routed * architecture.num_experts_per_tok // architecture.num_experts if routed else 0
    vision = sum(part.num_parameters for part in architecture.vision)
    return ParameterCount(total, total - vision - routed + chosen)


def weights_bytes_per_gpu(
    files: ModelFiles,
    dtype: str | None = None,
    quantization: str | None = None,
    parallelism: Parallelism | None = None,
) -> Estimate:
    """Return the bytes that the weights take on one GPU.

    What the checkpoint's size says is preferred to what its config says; the config tells how it is divided.

    Args:
        files: of the model; without `total_size` everything is counted from the config.
        dtype: `inference.dtype`; None = auto.
        quantization: `inference.quantization`; None = what the checkpoint says.
        parallelism: None = one GPU.

    Source: the parallel layers of vllm/model_executor/layers/linear.py and `FusedMoEParallelConfig` in
    vllm/model_executor/layers/fused_moe/config.py, 0.32.
    """
    parallelism = parallelism or Parallelism()
    architecture = parse_architecture(files.config)
    storages = _storages(files, dtype, quantization)
    if isinstance(storages, Unknown):
        return Estimate((), storages.reason)
    stored, served = storages
    if isinstance(architecture, Unknown):
        return _divide_evenly(files, stored, served, parallelism, architecture.reason)
    if architecture.vision is None and files.total_size is None:
        return Estimate((), "the size of the vision encoder is not known")
    scale = files.total_size / _checkpoint_bytes(architecture, stored) if files.total_size else 1.0
    by_stage = _bytes_by_stage(architecture, served, parallelism)
    return Estimate(tuple(math.ceil(scale * num) for num in by_stage), _INDEX if files.total_size else _CONFIG)


def _storages(files: ModelFiles, dtype: str | None, quantization: str | None) -> tuple[Storage, Storage] | Unknown:
    """Return how the weights are stored and how they are served: as stored, where the format is not known."""
    stored = checkpoint_storage(files.config)
    if isinstance(stored, Unknown):
        plain = Storage(16)
        return stored if files.total_size is None else (plain, plain)
    served = served_storage(files.config, dtype, quantization)
    return served if isinstance(served, Unknown) else (stored, served)


def _divide_evenly(
    files: ModelFiles, stored: Storage, served: Storage, parallelism: Parallelism, reason: str
) -> Estimate:
    """Return an estimate for a model of which only the checkpoint's size is known."""
    if files.total_size is None or stored.compressed != served.compressed:
        return Estimate((), reason)
    num_gpus = parallelism.tensor_parallel_size * parallelism.pipeline_parallel_size
    num_bytes = math.ceil(files.total_size / num_gpus * served.plain_bits / stored.plain_bits)
    return Estimate((num_bytes,) * parallelism.pipeline_parallel_size, f"{_INDEX}, divided evenly: {reason}")


def _parts(architecture: Architecture) -> list[Part]:
    """Return all weights that vLLM loads, without speculative decoding."""
    layers = [part for layer in architecture.layers for part in layer]
    return [
        *layers,
        architecture.embedding,
        *architecture.head,
        architecture.norm,
        *(architecture.vision or ()),
    ]


def _checkpoint_bytes(architecture: Architecture, stored: Storage) -> float:
    parts = [*_parts(architecture), *architecture.draft]
    return sum(part.num_parameters * stored.bits(part.module) / 8 for part in parts)


def _bytes_by_stage(architecture: Architecture, served: Storage, parallelism: Parallelism) -> tuple[float, ...]:
    stages = split_layers(len(architecture.layers), parallelism.pipeline_parallel_size)
    padding = _expert_padding(architecture, parallelism) if served.method == "mxfp4" else 1.0
    return tuple(
        sum(
            part.num_parameters
            * _share(part, architecture, parallelism)
            * served.bits(part.module)
            / 8
            * (padding if part.module == "experts" else 1.0)
            for part in _stage_parts(architecture, layers)
        )
        for layers in stages
    )


def _stage_parts(architecture: Architecture, layers: range) -> list[Part]:
    """Return the weights of one pipeline stage; a tied embedding is on the first and on the last."""
    parts = [part for index in layers for part in architecture.layers[index]]
    if layers.start == 0:
        parts += [architecture.embedding, *(architecture.vision or ())]
    if layers.stop == len(architecture.layers):
        tied = () if layers.start == 0 else (architecture.embedding,)
        parts += [architecture.norm, *(architecture.head or tied)]
    return parts


def _share(part: Part, architecture: Architecture, parallelism: Parallelism) -> float:
    """Return the fraction of `part` on one GPU of the stage that has it."""
    size = parallelism.tensor_parallel_size
    if part.sharing == "everywhere":
        return 1.0
    if part.sharing == "kv_heads":
        return 1 / min(size, architecture.num_kv_heads)
    if part.sharing == "tensor":
        return 1 / size
    num_gpus = size * parallelism.data_parallel_size
    if parallelism.enable_expert_parallel:
        return math.ceil(architecture.num_experts / num_gpus) / architecture.num_experts
    return 1 / num_gpus


def _expert_padding(architecture: Architecture, parallelism: Parallelism) -> float:
    """Return by what MXFP4 experts grow when their sides are rounded up for the kernels.

    Source: `mxfp4_round_up_hidden_size_and_intermediate_size` in vllm/model_executor/layers/fused_moe/oracle/mxfp4.py,
    0.32: the largest of its roundings on NVIDIA GPUs.
    """
    num_gpus = parallelism.tensor_parallel_size * parallelism.data_parallel_size
    num_gpus = 1 if parallelism.enable_expert_parallel else num_gpus
    width = architecture.expert_width / num_gpus
    return (_round_up(architecture.hidden_size, 256) / architecture.hidden_size) * (_round_up(width, 128) / width)


def _round_up(value: float, multiple: int) -> int:
    return math.ceil(value / multiple) * multiple
