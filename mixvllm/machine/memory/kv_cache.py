"""How the KV cache is laid out, what one sequence takes of it, and how many sequences it holds.

A block is `block_size` tokens of one layer group: layers that look back equally far, as many as the smallest kind
has. All groups draw their blocks from one pool, so a block has the size of the largest group.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.machine.memory.architecture import Architecture, parse_architecture
from mixvllm.machine.memory.parallel import Parallelism, split_layers
from mixvllm.machine.memory.parts import Unknown
from mixvllm.machine.memory.storage import cache_bits

DEFAULT_BLOCK_SIZE = 16
"""Tokens; `CacheConfig.DEFAULT_BLOCK_SIZE` of vLLM 0.32. Some attention kernels take more, and the CPU 128."""


@dataclass(frozen=True)
class Group:
    """Layers that share their blocks.

    Args:
        layers: their indices.
        window: tokens that they look back; None = all of them.
    """

    layers: tuple[int, ...]
    window: int | None


@dataclass(frozen=True)
class CacheLayout:
    """The KV cache of one model on its GPUs.

    Args:
        groups: shape (n,), n >= 1.
        stages: the layers of each pipeline stage.
        page_bytes: of one block in one layer, on one GPU.
        block_size: tokens.
        max_in_flight_tokens: tokens that may be scheduled and not yet computed: a window keeps its blocks for them.
    """

    groups: tuple[Group, ...]
    stages: tuple[range, ...]
    page_bytes: int
    block_size: int
    max_in_flight_tokens: int

    def block_bytes(self) -> tuple[int, ...]:
        """Return the bytes of one block on one GPU of each pipeline stage.

        Source: `_get_kv_cache_bytes_per_block` in vllm/v1/core/kv_cache_utils.py, 0.32.
        """
        return tuple(
            self.page_bytes * max(sum(layer in stage for layer in group.layers) for group in self.groups)
            for stage in self.stages
        )

    def num_blocks(self, room: tuple[int, ...]) -> int:
        """Return the blocks that fit into `room`, bytes on one GPU of each stage; 0 where there is none."""
        return max(0, min(num // size for num, size in zip(room, self.block_bytes(), strict=True) if size))

    def sequence_blocks(self, num_tokens: int) -> int:
        """Return the blocks that one sequence of `num_tokens` takes at the most.

        Source: `max_memory_usage_bytes` of `FullAttentionSpec` and `SlidingWindowSpec` in
        vllm/v1/kv_cache_interface.py, 0.32. A window may begin inside a block, hence one more.
        """
        return sum(self._group_blocks(group, num_tokens) for group in self.groups)

    def num_sequences(self, num_blocks: int, max_model_len: int) -> float:
        """Return how many sequences of `max_model_len` tokens fit at once: vLLM's "maximum concurrency".

        Source: `get_max_concurrency_for_kv_cache_config` in vllm/v1/core/kv_cache_utils.py, 0.32.
        """
        return num_blocks / self.sequence_blocks(max_model_len)

    def num_tokens(self, num_blocks: int, max_model_len: int) -> int:
        """Return the tokens that vLLM logs as "KV cache size": those of sequences of `max_model_len`."""
        return int(self.num_sequences(num_blocks, max_model_len) * max_model_len)

    def holds(self, num_blocks: int, num_tokens: int) -> bool:
        """Say whether one sequence of `num_tokens` fits; one block of the pool is never given out.

        Source: `get_kv_cache_configs` in vllm/v1/core/kv_cache_utils.py, 0.32.
        """
        return self.sequence_blocks(num_tokens) <= num_blocks - 1

    def longest_sequence(self, num_blocks: int, limit: int) -> int:
        """Return the most tokens, up to `limit`, of one sequence that fits; 0 = not even one token does."""
        return max(0, bisect_right(range(limit + 1), num_blocks - 1, key=self.sequence_blocks) - 1)

    def _group_blocks(self, group: Group, num_tokens: int) -> int:
        if group.window is None:
            return math.ceil(num_tokens / self.block_size)
        held = min(group.window - 1 + self.max_in_flight_tokens, num_tokens)
        return math.ceil(held / self.block_size) + 1


def plan_kv_cache(
    config: Mapping[str, Any],
    kv_cache_dtype: str | None = None,
    dtype: str | None = None,
    parallelism: Parallelism | None = None,
    *,
    block_size: int = DEFAULT_BLOCK_SIZE,
    max_in_flight_tokens: int = 0,
) -> CacheLayout | Unknown:
    """Return how vLLM lays out the KV cache of a model on GPUs, or why that is not known.

    Args:
        config: `config.json`.
        kv_cache_dtype: `inference.kv_cache_dtype`; None = auto.
        dtype: `inference.dtype`; None = auto.
        parallelism: None = one GPU.
        max_in_flight_tokens: `max_num_batched_tokens` times the batches in flight.

    Source: `get_num_kv_heads` in vllm/config/model.py, 0.32: KV heads are divided by the tensor parallel size down to
    one per GPU; the latent of MLA is whole on every GPU.
    """
    parallelism = parallelism or Parallelism()
    architecture, bits = parse_architecture(config), cache_bits(config, kv_cache_dtype, dtype)
    if isinstance(architecture, Unknown):
        return architecture
    if isinstance(bits, Unknown):
        return bits
    return CacheLayout(
        groups=_groups(architecture.windows),
        stages=split_layers(len(architecture.layers), parallelism.pipeline_parallel_size),
        page_bytes=_page_bytes(architecture, bits, block_size, parallelism.tensor_parallel_size),
        block_size=block_size,
        max_in_flight_tokens=max_in_flight_tokens,
    )


def _page_bytes(architecture: Architecture, bits: float, block_size: int, tensor_parallel_size: int) -> int:
    state = architecture.state
    num_heads = max(1, state.num_heads // tensor_parallel_size)
    return int(block_size * num_heads * state.values_per_head * bits / 8)


def _groups(windows: tuple[int | None, ...]) -> tuple[Group, ...]:
    """Return the layers in groups: of equal size, or nearly so, each with one window.

    Source: `_get_kv_cache_groups_uniform_page_size` in vllm/v1/core/kv_cache_utils.py, 0.32.
    """
    kinds: dict[int | None, list[int]] = {}
    for index, window in enumerate(windows):
        kinds.setdefault(window, []).append(index)
    sizes = [len(layers) for layers in kinds.values()]
    size = max(sizes) if max(sizes) < 1.5 * min(sizes) else min(sizes)
    groups = []
    for window, layers in kinds.items():
        num_groups = math.ceil(len(layers) / size)
        groups += [Group(tuple(layers[start::num_groups]), window) for start in range(num_groups)]
    return tuple(groups)
