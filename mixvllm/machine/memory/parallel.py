"""How one model is split over GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Parallelism:
    """The sizes that split a model, under vLLM's names."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    enable_expert_parallel: bool = False


def split_layers(num_layers: int, num_stages: int) -> tuple[range, ...]:
    """Return the layers of each pipeline stage, shape (num_stages,).

    Layers left over go one each to the stages before the last one, backwards.

    Source: `get_pp_indices` in vllm/distributed/utils.py, 0.32.
    """
    sizes = [num_layers // num_stages] * num_stages
    for index in range(num_layers % num_stages):
        sizes[-2 - index] += 1
    bounds = [sum(sizes[:stage]) for stage in range(num_stages + 1)]
    return tuple(range(start, end) for start, end in pairwise(bounds))
