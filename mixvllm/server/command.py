"""The whole command of a server: its argv, and the environment it needs over the inherited one."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from mixvllm.config.schema import ServeConfig
from mixvllm.machine.cache import cache_folder
from mixvllm.vllm.command import build_vllm_command
from mixvllm.vllm.environment import API_KEY_VARIABLE, build_environment
from mixvllm.vllm.installation import Installation, complete_metadata


@dataclass(frozen=True)
class ServerCommand:
    """What is started, without secrets.

    Args:
        argv: arguments, shape (n,), program first.
        environment: set over what is inherited.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]

    def shell(self, key_expression: str | None = None) -> str:
        """Return the command for a shell, environment first.

        Args:
            key_expression: what the shell expands to the clients' key; None where there is none.
        """
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if key_expression is not None:
            assignments.append(f'{API_KEY_VARIABLE}="{key_expression}"')
        return " ".join([*assignments, shlex.join(self.argv)])


def server_command(
    config: ServeConfig, installation: Installation, *, port: int | None = None, identity: str | None = None
) -> ServerCommand:
    """Return the command of the server that `config` describes, for the vLLM of `installation`."""
    argv = build_vllm_command(
        config, python=installation.python, module=installation.module, port=port, identity=identity
    )
    metadata = complete_metadata(installation, cache_folder())
    environment = build_environment(config, os.environ, str(metadata) if metadata else None)
    return ServerCommand(tuple(argv), environment)
