"""Arithmetic in values: `${mul:10,${workload.max_concurrency}}`, and `add`, `sub`, `div`, `min`, `max`.

Pure, and known to every composition; integers stay integers, and what does not divide evenly becomes a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

from omegaconf import OmegaConf

from mixvllm.config.schema.fields import human_int_value, is_human_int

Number = int | float


def register_resolvers() -> None:
    """Make the names known to OmegaConf; more than once does nothing."""
    for name, of_numbers in _RESOLVERS.items():
        if not OmegaConf.has_resolver(name):
            OmegaConf.register_new_resolver(name, _reading_numbers(name, of_numbers))


def _reading_numbers(name: str, of_numbers: Callable[[list[Number]], Number]) -> Callable[..., Number]:
    def resolve(*values: Any) -> Number:
        if len(values) < 2:
            raise ValueError(f"{name} takes two numbers at least: ${{{name}:2,3}}")
        return of_numbers([_number(name, value) for value in values])

    return resolve


def _number(name: str, value: Any) -> Number:
    if isinstance(value, str) and is_human_int(value):
        return human_int_value(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = "null" if value is None else repr(value)
        raise ValueError(f"{name} takes numbers, not {shown}")
    return value


def _quotient(dividend: Number, divisor: Number) -> Number:
    if divisor == 0:
        raise ValueError("div by zero")
    if isinstance(dividend, int) and isinstance(divisor, int) and dividend % divisor == 0:
        return dividend // divisor
    return dividend / divisor


_RESOLVERS: dict[str, Callable[[list[Number]], Number]] = {
    "mul": math.prod,
    "add": sum,
    "sub": lambda numbers: reduce(lambda a, b: a - b, numbers),
    "div": lambda numbers: reduce(_quotient, numbers),
    "min": min,
    "max": max,
}
