"""A preflight as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from mixvllm.machine.preflight import Check

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def print_table(checks: Sequence[Check], stream: TextIO) -> None:
    """Print a line for each check: verdict, what was looked at, what was found, what mends it."""
    table = Table(box=box.SIMPLE, pad_edge=False, title="preflight", title_justify="left")
    for heading in ("", "what", "found", "what mends it"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(f"[{_STYLES[check.verdict]}]{check.verdict}[/]", check.subject, check.finding, check.mend)
    Console(file=stream, highlight=False).print(table)
