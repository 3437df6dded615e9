"""What the sections of the schema share: strict frozen models, value types, and the two marks of a field."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

LAUNCHER_ONLY = "launcher-only"
"""Mark of a field that vLLM has no argument for: the launcher itself uses it."""

OUR_DEFAULT = "our-default"
"""Mark of a vLLM argument whose default here differs from vLLM's, so that it is always passed."""

_HUMAN_INT = re.compile(r"\d+[KMGT]|\d+(\.\d+)?[kmgt]")


class Section(BaseModel):
    """One section of the configuration: unknown keys and values of a wrong type are refused, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def is_human_int(text: str) -> bool:
    """Whether `text` is a number with a suffix that vLLM reads: 8k, 8K, 1.5g."""
    return _HUMAN_INT.fullmatch(text) is not None


def _human_int(value: int | str) -> int | str:
    if isinstance(value, str) and not is_human_int(value):
        raise ValueError("must be a number, with a suffix if you like: 8192, 8k (8,000), 8K (8,192), 1.5g")
    if isinstance(value, int) and value < 1:
        raise ValueError("must be at least 1")
    return value


def _max_model_len(value: int | str) -> int | str:
    return value if value in (-1, "auto") else _human_int(value)


def _not_an_option(value: str) -> str:
    if value.startswith("-"):
        raise ValueError("must not start with '-': vLLM would read it as an option")
    return value


def _environment(value: Any) -> Any:
    """Return `value` with numbers as text, as YAML has them; anything else is left for the type check."""
    if not isinstance(value, dict):
        return value
    return {name: str(entry) if type(entry) in (int, float) else entry for name, entry in value.items()}


def human_int_value(value: int | str) -> int:
    """Return the number that vLLM reads from `value`: lower-case suffixes are decimal, upper-case ones binary.

    Source: `human_readable_int` in vLLM's argument parser.
    """
    if isinstance(value, int):
        return value
    base = 1000 if value[-1].islower() else 1024
    return int(float(value[:-1]) * base ** ("kmgt".index(value[-1].lower()) + 1))


PositiveInt = Annotated[int, Field(ge=1)]
HumanInt = Annotated[int | str, AfterValidator(_human_int)]
MaxModelLen = Annotated[int | str, AfterValidator(_max_model_len)]
Word = Annotated[str, Field(min_length=1), AfterValidator(_not_an_option)]
ExtraArguments = Annotated[dict[str, Any], LAUNCHER_ONLY]
"""vLLM arguments without a key of their own, by vLLM's names; checked against the release that will run."""
Environment = Annotated[dict[str, str | None], BeforeValidator(_environment)]
