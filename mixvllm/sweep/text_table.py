"""Plain tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "
_MIN_WIDTH = 6


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, right: frozenset[int]) -> list[str]:
    """Return the lines of a table of at most `width` characters; the widest columns are cut where it takes that.

    Args:
        header: names of the columns, shape (n,).
        rows: cells, shape (m, n).
        width: characters.
        right: positions of the columns that are aligned to the right.
    """
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    room = width - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > _MIN_WIDTH:
        widths[widths.index(max(widths))] -= 1
    return [_GAP.join(_cell(line[at], widths[at], at in right) for at in range(len(widths))).rstrip() for line in lines]


def short_names(keys: Sequence[str]) -> list[str]:
    """Return each dotted key without its section, where no other one ends like it."""
    leaves = [key.rpartition(".")[2] for key in keys]
    return [leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(keys, leaves, strict=True)]


def _cell(text: str, width: int, is_right: bool) -> str:
    shown = text if len(text) <= width else f"{text[: width - 1]}…"
    return shown.rjust(width) if is_right else shown.ljust(width)
