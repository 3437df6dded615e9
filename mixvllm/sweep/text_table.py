"""Plain tables for a terminal, and what their cells hold."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "
_MIN_WIDTH = 6


def counted(number: int, noun: str) -> str:
    """Return `1 point`, `2,000 points`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, right: frozenset[int]) -> list[str]:
    """Return the lines of a table of at most `width` characters; where it takes that, the widest columns are cut.

    A column that is aligned to the right holds numbers: its name is cut, they only where nothing else is left.

    Args:
        header: names of the columns, shape (n,).
        rows: cells, shape (m, n).
        width: characters.
        right: positions of the columns that are aligned to the right.
    """
    lines = [header, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    least = [max((len(row[at]) for row in rows), default=0) if at in right else 0 for at in range(len(header))]
    room = width - len(_GAP) * (len(widths) - 1)
    while sum(widths) > room and max(widths) > _MIN_WIDTH:
        may_be_cut = [at for at, length in enumerate(least) if widths[at] > max(length, _MIN_WIDTH)]
        widths[max(may_be_cut or range(len(widths)), key=widths.__getitem__)] -= 1
    return [_GAP.join(_cell(line[at], widths[at], at in right) for at in range(len(widths))).rstrip() for line in lines]


def short_names(keys: Sequence[str]) -> list[str]:
    """Return each dotted key without its section, where no other one ends like it."""
    leaves = [key.rpartition(".")[2] for key in keys]
    return [leaf if leaves.count(leaf) == 1 else key for key, leaf in zip(keys, leaves, strict=True)]


def cut(line: str, width: int) -> str:
    """Return `line`, at most `width` characters of it."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def rounded(value: float, precision: float) -> str:
    """Return `value` with two digits of `precision`, at most three after the point."""
    digits = next((digits for digits in range(3) if precision * 10**digits >= 10), 3)
    return f"{value:,.{digits}f}"


def _cell(text: str, width: int, is_right: bool) -> str:
    shown = cut(text, width)
    return shown.rjust(width) if is_right else shown.ljust(width)
