"""A configuration by dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is below `value`, down to what is no mapping, or an empty one, with its dotted key.

    Args:
        path: of `value` itself.
    """
    if not isinstance(value, Mapping) or (path and not value):
        yield path, value
        return
    for name, below in value.items():
        yield from leaves(below, f"{path}.{name}" if path else str(name))
