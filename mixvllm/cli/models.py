"""The catalogue of models as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mixvllm.config.load.settings import option_values

GPU_CLASSES_GIB = (24, 48, 80, 141)
"""Memory of the usual cards, GiB: consumer and L4, L40S and A6000, A100 and H100, H200."""

_MAX_WEIGHTS_FRACTION = 0.75
"""Of a GPU's memory that weights may take, so that the rest holds activations and a KV cache worth serving with."""

_WIDTH = 140  # off a terminal: wide enough that no name is broken

_SIZES = (1, 2, 4, 8, 16)


def show_models(config_dirs: Sequence[str]) -> int:
    """Print every model with what it takes; return the exit code."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("model=", "name"):
        table.add_column(heading, overflow="fold")
    for heading in ("weights\nGiB", "context\ntokens", *(f"GPUs of\n{memory} GiB" for memory in GPU_CLASSES_GIB)):
        table.add_column(heading, justify="right")
    for option, values in option_values("model", config_dirs).items():
        table.add_row(option, *_cells(values))
    console = Console()
    Console(width=None if console.is_terminal else _WIDTH).print(table)
    return 0


def gpus_needed(weights_gib: float, num_attention_heads: int | None, memory_gib: float) -> int | None:
    """Return the smallest tensor_parallel_size that holds the weights; None where 16 GPUs do not.

    Args:
        weights_gib: of the whole model, GiB.
        num_attention_heads: the size must divide it; None where it is not known.
        memory_gib: of one GPU, GiB.
    """
    fitting = (size for size in _SIZES if weights_gib / size <= memory_gib * _MAX_WEIGHTS_FRACTION)
    return next((size for size in fitting if (num_attention_heads or size) % size == 0), None)


def _cells(values: dict[str, Any]) -> list[str]:
    weights_gib, context = values["weights_gib"], values["context_length"]
    name = "made on this machine" if values["recipe"] else values["name"]
    cells = [name, "?" if weights_gib is None else f"{weights_gib:g}", f"{context:,}" if context else "?"]
    for memory_gib in GPU_CLASSES_GIB:
        size = gpus_needed(weights_gib, values["num_attention_heads"], memory_gib) if weights_gib is not None else None
        cells.append("-" if size is None else str(size))
    return cells
