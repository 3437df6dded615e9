"""The library of NVIDIA's driver, which may be missing, may fail, and may never answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


def ask_each_gpu(ask: Callable[[Any, int, Any], _T]) -> list[_T] | None:
    """Return what each GPU of this machine answers, in the driver's order.

    Args:
        ask: gets the library `pynvml`, the index of a GPU and its handle.

    Returns:
        Answers, shape (gpu_count,); empty where the driver fails meanwhile, None where there is none.
    """
    import pynvml  # noqa: PLC0415 - a machine without GPUs does not need it

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        indices = range(pynvml.nvmlDeviceGetCount())
        return [ask(pynvml, index, pynvml.nvmlDeviceGetHandleByIndex(index)) for index in indices]
    except pynvml.NVMLError:
        return []
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
