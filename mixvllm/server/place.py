"""Where a server runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mixvllm.runs.folder import RunFolder
from mixvllm.server.address import Address


@dataclass(frozen=True)
class Place:
    """Where a server runs.

    Args:
        folder: where its log and records are.
        address: where it answers.
        tmp_dir: its own folder for temporary files.
        log_start: the byte of the log that its own lines begin at.
        is_cpu: whether it needs no GPU.
        secrets: what its log must not hold.
    """

    folder: RunFolder
    address: Address
    tmp_dir: Path
    log_start: int = 0
    is_cpu: bool = False
    secrets: frozenset[str] = frozenset()
