"""The run folder. This module names every file in it; the folder and its secrets are for their owner alone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Args:
        path: absolute.
    """

    path: Path

    @classmethod
    def create(cls, output_dir: str | Path, now: datetime | None = None) -> RunFolder:
        """Make `output_dir/<date>/<time>-<id>/`, mode 0700, and return it."""
        moment = now or datetime.now()
        day = Path(output_dir).absolute() / f"{moment:%Y-%m-%d}"
        path = day / f"{moment:%H-%M-%S}-{secrets.token_hex(3)}"
        for folder in (day.parent, day, path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=folder is not path)
        return cls(path)

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.path.name

    @property
    def point(self) -> Path:
        """What was asked for, frozen before anything started."""
        return self.path / "point.json"

    @property
    def command(self) -> Path:
        """The command that was started, for a shell."""
        return self.path / "command.sh"

    @property
    def server_log(self) -> Path:
        """Everything that the server printed."""
        return self.path / "server.log"

    @property
    def events(self) -> Path:
        """What happened, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def status(self) -> Path:
        """The state now."""
        return self.path / "status.json"

    @property
    def processes(self) -> Path:
        """The server's processes, for whoever must end them when nobody else is left to."""
        return self.path / "processes.json"

    @property
    def samples(self) -> Path:
        """What the server did over time, one JSON object a line."""
        return self.path / "samples.jsonl"

    @property
    def supervisor_log(self) -> Path:
        """What a detached launcher said after its terminal was left."""
        return self.path / "launcher.log"

    @property
    def reload_request(self) -> Path:
        """What the running server is asked to become."""
        return self.path / "reload.json"

    @property
    def reload_answer(self) -> Path:
        """What came of it."""
        return self.path / "reload_answer.json"

    @property
    def endpoint(self) -> Path:
        """Where the server answers; there only while it does."""
        return self.path / "endpoint.json"

    @property
    def replicas(self) -> Path:
        """Where the servers behind a router answer."""
        return self.path / "replicas.json"

    @property
    def result(self) -> Path:
        """How the run ended."""
        return self.path / "result.json"

    @property
    def api_key(self) -> Path:
        """The key that was generated for clients, mode 0600."""
        return self.path / "api_key"
