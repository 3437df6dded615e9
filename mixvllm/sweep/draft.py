"""Frozen points on their way to disk: kept in one file without a name until the whole plan is known to be good."""

from __future__ import annotations

import json
import tempfile
from types import TracebackType
from typing import Any, Self

from mixvllm.runs.records import read_json
from mixvllm.sweep.sweep_folder import SweepFolder


class Draft:
    """Takes points one by one and writes them all at once; a context manager, after which nothing is left of it."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", prefix="mixvllm-plan-")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, record: dict[str, Any]) -> None:
        """Take the record of a point."""
        json.dump(record, self._file, ensure_ascii=False)
        self._file.write("\n")

    def write(self, folder: SweepFolder) -> int:
        """Write `point.json` of each point that does not have it yet, and return how many were written.

        None of them is waited for until it is on the disk: one that is lost with the machine's power is found not to
        be whole, and written again by the next plan.
        """
        self._file.seek(0)
        return sum(_write(folder, line) for line in self._file)


def _write(folder: SweepFolder, line: str) -> bool:
    record = json.loads(line)
    path = folder.point(record["content_hash"])
    found = read_json(path)
    if found is not None and all(found.get(key) == record[key] for key in ("content_hash", "server_key")):
        return False
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(".point.json")  # of the one launcher that holds the sweep
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.rename(path)
    return True
