"""The folder of a sweep. This module names every file in it; the folder is for its owner alone.

<output_dir>/sweeps/<name>/
    sweep.json                     what was planned
    launched.json                  how it was asked for
    lock                           held by the launcher that runs it
    points/<content_hash>/         point.json, repeat-<k>.json
    servers/<server_key>/          run folders of the servers that were started
    results.csv, results.parquet
    search.db                      the trials of a search
    workers.log                    what workers print
    slurm/                         arrays of jobs; see `cluster/array_folder.py`
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.records import read_json
from mixvllm.workload.measurement import VERDICTS

_REPEAT = re.compile(r"repeat-(\d+)\.json")


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep.

    Args:
        path: absolute.
    """

    path: Path

    @classmethod
    def create(cls, output_dir: str | Path, name: str | None, now: datetime | None = None) -> SweepFolder:
        """Make `output_dir/sweeps/<name>/`, mode 0700, or take the one that is there; no name = a new one."""
        moment = now or datetime.now()
        sweeps = Path(output_dir).absolute() / "sweeps"
        path = sweeps / (name or f"{moment:%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}")
        for folder in (sweeps.parent, sweeps, path, path / "points", path / "servers"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(path)

    @property
    def name(self) -> str:
        """What the sweep is called."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What was planned: points, swept keys, versions."""
        return self.path / "sweep.json"

    @property
    def launched(self) -> Path:
        """What was typed, and where."""
        return self.path / "launched.json"

    @property
    def points(self) -> Path:
        """A folder for each point."""
        return self.path / "points"

    @property
    def servers(self) -> Path:
        """A folder for each server key, with the runs of its servers."""
        return self.path / "servers"

    @property
    def results_csv(self) -> Path:
        """The results as text."""
        return self.path / "results.csv"

    @property
    def results_parquet(self) -> Path:
        """The results with their types."""
        return self.path / "results.parquet"

    @property
    def search(self) -> Path:
        """The trials of a search: Optuna's study."""
        return self.path / "search.db"

    @property
    def workers_log(self) -> Path:
        """What its workers print; each of them holds it as long as it lives."""
        return self.path / "workers.log"

    @property
    def lock(self) -> Path:
        """Held, and telling by whom, while a launcher runs the sweep."""
        return self.path / "lock"

    def point_folder(self, content_hash: str) -> Path:
        """Everything of one point."""
        return self.points / content_hash

    def point(self, content_hash: str) -> Path:
        """What a point asks for, frozen before anything started."""
        return self.point_folder(content_hash) / "point.json"

    def repeat(self, content_hash: str, repeat: int) -> Path:
        """What came of one repeat of a point, counted from 1."""
        return self.point_folder(content_hash) / f"repeat-{repeat}.json"

    def server_folder(self, server_key: str) -> Path:
        """The runs of the servers of one key."""
        return self.servers / server_key

    def read_repeat(self, content_hash: str, repeat: int) -> dict[str, Any] | None:
        """Return the record of a repeat; None where there is none that is whole, and of this repeat."""
        found = read_json(self.repeat(content_hash, repeat))
        if found is None or (found.get("point"), found.get("repeat")) != (content_hash, repeat):
            return None
        return found if found.get("verdict") in VERDICTS else None

    def read_repeats(self, content_hash: str) -> list[dict[str, Any]]:
        """Return the records of a point that are whole, by their number, shape (n,)."""
        files = self.point_folder(content_hash).glob("repeat-*.json")
        numbers = sorted(int(match[1]) for file in files if (match := _REPEAT.fullmatch(file.name)))
        records = (self.read_repeat(content_hash, number) for number in numbers)
        return [record for record in records if record is not None]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep, so that nobody else runs it; whoever dies holds it no more.

        A process that is forked meanwhile, and executes nothing else, holds it too.

        Raises:
            ConfigError: another launcher has it; says which.
        """
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError([Fault("sweep.name", self._held(), self.name)]) from None
            _write_holder(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _held(self) -> str:
        holder = read_json(self.lock) or {}
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}" if holder else "another launcher"
        return f"this sweep is being run by {who}: wait for it, stop it, or give another name"


def _write_holder(descriptor: int) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)
