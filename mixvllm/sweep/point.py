"""A point: one run, frozen before anything starts, so that what runs is what was asked for."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.machine.source import git_state
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.server.command import ServerCommand, server_command
from mixvllm.vllm.installation import Installation, find_installation

_NOT_CONTENT = {"output_dir", "preflight", "dry_run", "detach"}


@dataclass(frozen=True)
class Point:
    """One run, whole.

    Args:
        config: validated.
        overrides: as the user gave them, shape (n,).
        installation: the vLLM that will serve.
        command: of the server, without the port and the identity that are chosen where it runs; no secrets.
    """

    config: ExperimentConfig
    overrides: tuple[str, ...]
    installation: Installation
    command: ServerCommand

    @property
    def content_hash(self) -> str:
        """Equal for runs that ask for the same: the configuration, less how it is started and written."""
        return _hash(self.config.model_dump(mode="json", exclude=_NOT_CONTENT))

    @property
    def server_key(self) -> str:
        """Equal for runs that can share a server: what reaches vLLM's argv and environment, less host and port."""
        server = {"host": "", "port": "auto"}
        anywhere = self.config.model_copy(update={"server": self.config.server.model_copy(update=server)})
        command = server_command(anywhere, self.installation)
        return _hash([command.argv, command.environment, self.installation.version])

    def record(self) -> dict[str, Any]:
        """Return everything that it takes to understand and repeat the run, as JSON has it."""
        return {
            "schema": SCHEMA_VERSION,
            "overrides": self.overrides,
            "config": self.config.model_dump(mode="json"),
            "argv": self.command.argv,
            "environment": self.command.environment,
            "api_key": self.config.server.key_source,
            "content_hash": self.content_hash,
            "server_key": self.server_key,
            "resources": {"num_nodes": 1, "num_gpus": self.config.inference.num_gpus},
            "versions": {
                "mixvllm": version("mixvllm"),
                self.installation.distribution: self.installation.version,
                "python": platform.python_version(),
                "hydra-core": version("hydra-core"),
            },
            "launcher": [sys.executable, *sys.argv],
            "git": git_state(Path.cwd()),
        }


def freeze(
    config: ExperimentConfig, overrides: tuple[str, ...], installation: Installation, say: Callable[[str], None]
) -> Point:
    """Return the point that `config` asks for on `installation`; `say` is told what takes long.

    Raises:
        ConfigError: the vLLM of `installation` does not take an argument or a variable of it.
    """
    return Point(config, overrides, installation, server_command(config, installation, say=say))


def load_point(folder: RunFolder) -> Point:
    """Return the point that was frozen in `folder`, with the vLLM of this moment.

    Raises:
        EngineNotFound: that vLLM is gone.
    """
    record = json.loads(folder.point.read_text(encoding="utf-8"))
    config = ExperimentConfig.model_validate(record["config"])
    installation = find_installation(config.server.python)
    return freeze(config, tuple(record["overrides"]), installation, lambda _line: None)


def _hash(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
