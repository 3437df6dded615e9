"""What is known of a failed server: the cause, the line that shows it, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FailureKind = Literal["config", "environment", "transient", "unknown"]
"""Who can mend it: another configuration, a repair of the machine or the model, another attempt; or nobody knows."""

UNCLASSIFIED = "unclassified"


@dataclass(frozen=True)
class Diagnosis:
    """Why a server failed.

    Args:
        id: name of the failure, which stays the same over releases; `unclassified` where none is known.
        kind: who can mend it.
        cause: one sentence, in the words of the configuration.
        fix: what to do, where no override does it alone.
        override: one override of the configuration that mends it; None where none can.
        line: the line of the log that shows it, without colours, 400 characters at the most.
        line_number: of that line in the file, from 1.
        context: lines around it; of an unclassified failure the last ones of the log, shape (n,).
    """

    id: str
    kind: FailureKind
    cause: str
    fix: str
    override: str | None
    line: str | None
    line_number: int | None
    context: tuple[str, ...]

    def message(self, log: Path) -> str:
        """Return what a user is told: the cause, where it shows, and what to try next.

        Args:
            log: the file that was read.
        """
        place = f"{log}:{self.line_number}" if self.line_number else str(log)
        end = self.context if self.id == UNCLASSIFIED else ()
        told = [
            self.cause,
            f"  log: {place}",
            *([f"    {self.line.strip()}"] if self.line else []),
            *(["  its end:", *(f"    {line}" for line in end)] if end else []),
            f"  try: {self.override}" if self.override else f"  next: {self.fix}",
        ]
        return "\n".join(told)

    def record(self) -> dict[str, Any]:
        """Return what is kept of it, as JSON has it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "cause": self.cause,
            "fix": self.fix,
            "override": self.override,
            "line": self.line,
            "line_number": self.line_number,
        }
