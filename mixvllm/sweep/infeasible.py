"""Groups that need not be tried, since one that needs less has failed for want of memory."""

from __future__ import annotations

from typing import Any

from mixvllm.runs.records import read_json
from mixvllm.sweep.feasible import needs_more
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.work import Work


class Infeasible:
    """Remembers which servers did not start, and why.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._failed: dict[str, tuple[Work, str]] = {}
        self._configs: dict[str, dict[str, Any]] = {}

    def note(self, work: Work, failure_id: str) -> None:
        """Take note that the server of `work` did not start, by this diagnosis."""
        self._failed[work.server_key] = work, failure_id

    def reason(self, work: Work) -> str | None:
        """Return why the server of `work` need not be started; None where it may do."""
        for other, failure_id in self._failed.values():
            if needs_more(self._config(work), self._config(other), failure_id):
                return f"infeasible: point {other.number} needs less and failed for memory ({failure_id})"
        return None

    def _config(self, work: Work) -> dict[str, Any]:
        if work.server_key not in self._configs:
            record = read_json(self._folder.point(work.repeats[0][0])) or {}
            self._configs[work.server_key] = record.get("config") or {}
        return self._configs[work.server_key]
