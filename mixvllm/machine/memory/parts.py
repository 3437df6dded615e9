"""The pieces that a model's architecture is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Module = Literal["attention", "mlp", "experts", "embedding", "other"]
"""What a weight belongs to: quantization methods compress the first three."""

Sharing = Literal["tensor", "kv_heads", "experts", "everywhere"]
"""How tensor parallel GPUs hold a weight: divided; divided down to one KV head each; divided with the data parallel
GPUs too; or whole on every one."""


@dataclass(frozen=True)
class Unknown:
    """Why there is no answer."""

    reason: str


@dataclass(frozen=True)
class Part:
    """Weights that are held and stored alike."""

    module: Module
    num_parameters: int
    sharing: Sharing = "tensor"


@dataclass(frozen=True)
class TokenState:
    """What one token leaves in the KV cache of one layer: `num_heads` times `values_per_head` numbers."""

    num_heads: int
    values_per_head: int
