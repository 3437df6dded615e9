"""A point: one run, frozen before anything starts, so that what runs is what was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig, ServeConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine.source import code_digest, git_state
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.secrets import known_secrets, mask
from mixvllm.server.command import ServerCommand, server_command
from mixvllm.vllm.installation import Installation, asked_once, installation_of
from mixvllm.workload.bench.options import check_bench_options

_MAX_SERVERS = 256  # whose commands are kept; each takes a few KB
NOT_MEASURED = ("output_dir", "preflight", "dry_run", "detach", "submit", "sweep")
"""Sections of a configuration that say how it is started and written, and nothing of what is measured."""
_NOT_CONTENT: Any = {
    **dict.fromkeys(NOT_MEASURED, True),
    "workload": {"repeats": True},  # the first ones are the same, however many follow
}


@dataclass(frozen=True)
class Surroundings:
    """What all points that are frozen at one moment have in common.

    Args:
        versions: of the launcher's own distributions.
        launcher: the command that was typed.
        git: of the sources; None outside a checkout.
    """

    versions: dict[str, str]
    launcher: list[str]
    git: dict[str, str] | None


def look_around() -> Surroundings:
    """Return the surroundings of this moment. Asks git, which takes long beside a point."""
    versions = {
        "mixvllm": version("mixvllm"),
        "python": platform.python_version(),
        "hydra-core": version("hydra-core"),
    }
    typed = [[sys.executable, *sys.argv], git_state(Path.cwd())]
    launcher, git = json.loads(mask(json.dumps(typed), known_secrets(os.environ)))
    return Surroundings(versions, launcher, git)


@dataclass(frozen=True)
class Point:
    """One run, whole.

    Args:
        config: validated.
        overrides: as the user gave them, shape (n,).
        installation: the vLLM that will serve.
        command: of the server, without the port and the identity that are chosen where it runs; no secrets.
        server_key: equal for runs that can share a server: what reaches vLLM's argv and environment, less host and
            port.
    """

    config: ExperimentConfig
    overrides: tuple[str, ...]
    installation: Installation
    command: ServerCommand
    server_key: str

    @cached_property
    def content_hash(self) -> str:
        """Equal for runs that ask for the same of the same vLLM, and the same code here.

        Of the configuration, how it is started and written does not count.
        """
        asked = self.config.model_dump(mode="json", exclude=_NOT_CONTENT)
        return _hash([asked, self.installation.distribution, self.installation.version, code_digest()])

    @property
    def num_gpus(self) -> int:
        """That its server takes, on all nodes; 0 where it runs on the CPU."""
        return 0 if self.installation.is_cpu else self.config.num_gpus

    def record(self, surroundings: Surroundings | None = None) -> dict[str, Any]:
        """Return everything that it takes to understand and repeat the run, as JSON has it.

        Args:
            surroundings: None asks for those of this moment.
        """
        around = surroundings or look_around()
        return {
            "schema": SCHEMA_VERSION,
            "overrides": self.overrides,
            "config": self.config.model_dump(mode="json"),
            "argv": self.command.started_argv,
            "environment": self.command.environment,
            "api_key": self.config.server.key_source,
            "content_hash": self.content_hash,
            "server_key": self.server_key,
            "resources": {"num_nodes": self.config.inference.nnodes, "num_gpus": self.num_gpus},
            "versions": {**around.versions, self.installation.distribution: self.installation.version},
            "launcher": around.launcher,
            "git": around.git,
        }


def freeze(
    config: ExperimentConfig, overrides: tuple[str, ...], installation: Installation, say: Callable[[str], None]
) -> Point:
    """Return the point that `config` asks for on `installation`; `say` is told what takes long.

    Raises:
        ConfigError: the vLLM of `installation` does not take an argument or a variable of it.
    """
    _check_workload(config, installation)
    command = server_command(config, installation, say=say)
    return Point(config, overrides, installation, command, _server_key(config, installation))


def _check_workload(config: ExperimentConfig, installation: Installation) -> None:
    if config.workload.kind in ("bench", "slo"):
        faults = check_bench_options(config, installation.version)
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class _Server:
    command: ServerCommand
    key: str


class Freezer:
    """Freezes many points; what several have in common, their vLLM or their server, is found out once.

    Args:
        say: told what takes long.
        find: returns the vLLM that serves a configuration.
    """

    def __init__(
        self, say: Callable[[str], None], find: Callable[[ServeConfig], Installation] = installation_of
    ) -> None:
        self._say = say
        self._find = asked_once(find)
        self._servers: OrderedDict[str, _Server | tuple[Fault, ...]] = OrderedDict()

    def freeze(self, config: ExperimentConfig, overrides: tuple[str, ...]) -> Point:
        """Return the point that `config` asks for.

        Raises:
            ConfigError: its vLLM does not take an argument or a variable of it.
            EngineNotFound: there is no vLLM.
        """
        installation = self._find(config)
        _check_workload(config, installation)
        reaching = config.model_dump_json(include={"model", "inference", "server", "runtime", "generation"})
        server = self._server(f"{config.generation_on_server}{reaching}", config, installation)
        return Point(config, overrides, installation, server.command, server.key)

    def _server(self, text: str, config: ExperimentConfig, installation: Installation) -> _Server:
        if text not in self._servers:
            self._servers[text] = self._asked(config, installation)
            if len(self._servers) > _MAX_SERVERS:
                self._servers.popitem(last=False)
        self._servers.move_to_end(text)
        found = self._servers[text]
        if isinstance(found, _Server):
            return found
        raise ConfigError(found)

    def _asked(self, config: ExperimentConfig, installation: Installation) -> _Server | tuple[Fault, ...]:
        try:
            command = server_command(config, installation, say=self._say)
            return _Server(command, _server_key(config, installation))
        except ConfigError as error:
            return error.faults


def load_point(file: Path) -> Point:
    """Return the point that was frozen in `file`, with the vLLM of this moment.

    Raises:
        EngineNotFound: that vLLM is gone.
    """
    record = json.loads(file.read_text(encoding="utf-8"))
    config = ExperimentConfig.model_validate(record["config"])
    installation = installation_of(config)
    return freeze(config, tuple(record["overrides"]), installation, lambda _line: None)


def _server_key(config: ExperimentConfig, installation: Installation) -> str:
    server = {"host": "", "port": "auto"}
    anywhere = config.model_copy(update={"server": config.server.model_copy(update=server)})
    command = server_command(anywhere, installation)
    return _hash([command.argv, command.environment, installation.version, config.runtime.model_dump()])


def _hash(value: Any) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
