"""The whole command of a server: its argv, and the environment it needs over the inherited one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine.folders import cache_folder
from mixvllm.runs.secrets import known_secrets, mask
from mixvllm.vllm.arguments import Release
from mixvllm.vllm.check import check_release, extra_arguments
from mixvllm.vllm.command import build_vllm_command
from mixvllm.vllm.environment import API_KEY_VARIABLE, build_environment
from mixvllm.vllm.installation import Installation, complete_metadata
from mixvllm.vllm.release import SUPPORTED_RELEASE, load_release, snapshot


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
    config: ServeConfig,
    installation: Installation,
    *,
    port: int | None = None,
    identity: str | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> ServerCommand:
    """Return the command of the server that `config` describes, for the vLLM of `installation`.

    Raises:
        ConfigError: that vLLM does not take an argument or a variable of it, or a secret would stand in it.
    """
    release = release_for(config, installation, say)
    faults = check_release(config, release)
    if faults:
        raise ConfigError(faults)
    argv = build_vllm_command(
        config, python=installation.python, module=installation.module, port=port, identity=identity, release=release
    )
    metadata = complete_metadata(installation, cache_folder())
    environment = build_environment(config, os.environ, str(metadata) if metadata else None)
    _refuse_secrets([*argv, *environment.values()])
    return ServerCommand(tuple(argv), environment)


def _refuse_secrets(words: list[str]) -> None:
    """Everybody on this machine can read a command line, and the records hold this one."""
    known = known_secrets(os.environ)
    found = [masked for word in words if (masked := mask(word, known)) != word]
    if found:
        advice = "take it from the environment, or from a file that vLLM reads"
        raise ConfigError([Fault("", f"a secret would stand in the server's command: {' '.join(found)}; {advice}")])


def release_for(config: ServeConfig, installation: Installation, say: Callable[[str], None]) -> Release:
    """Return what the serving vLLM accepts: as shipped where that is sure to do, else as it says itself.

    It is asked, which takes long once, for arguments beyond the keys of the schema, and where it is another release.
    """
    is_sure = installation.version == SUPPORTED_RELEASE and not extra_arguments(config)
    return snapshot() if is_sure or not installation.location else load_release(installation, cache_folder(), say)
