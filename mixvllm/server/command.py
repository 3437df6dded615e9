"""The whole command of a server: its argv, and the environment it needs over the inherited one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine.folders import cache_folder
from mixvllm.runs.secrets import known_secrets, mask
from mixvllm.runtime.wrapper import Wrapper
from mixvllm.vllm.arguments import Release
from mixvllm.vllm.check import check_release, extra_arguments
from mixvllm.vllm.command import build_vllm_command
from mixvllm.vllm.environment import API_KEY_VARIABLE, build_environment
from mixvllm.vllm.installation import Installation, complete_metadata
from mixvllm.vllm.release import load_release, snapshot

_UNWRAPPED = Wrapper(RuntimeConfig())


@dataclass(frozen=True)
class ServerCommand:
    """What is started, without secrets.

    Args:
        argv: arguments, shape (n,), program first; as they are inside the runtime.
        environment: set over what is inherited, as it is inside.
        wrapper: what they are wrapped in.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]
    wrapper: Wrapper = _UNWRAPPED

    @property
    def started_argv(self) -> tuple[str, ...]:
        """What is started for it on this machine, the runtime's part first."""
        return self.wrapper.server(self.argv, {**os.environ, **self.environment}).argv

    def shell(self, key_expression: str | None = None) -> str:
        """Return the command for a shell, environment first.

        Args:
            key_expression: what the shell expands to the clients' key; None where there is none.
        """
        inherited = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
        own = {**self.environment, **({} if key_expression is None else {API_KEY_VARIABLE: ""})}
        wrapped = self.wrapper.server(self.argv, {**inherited, **own})
        prefix, started = self.wrapper.variable_prefix, wrapped.environment
        changed = [name for name in started if name.startswith(prefix) and started[name] != inherited.get(name)]
        named = [name for own_name in own if (name := f"{prefix}{own_name}") in started]
        values = {name: _shown(name.removeprefix(prefix), started[name], inherited) for name in [*named, *changed]}
        if key_expression is not None:
            values[f"{prefix}{API_KEY_VARIABLE}"] = f'"{key_expression}"'
        return " ".join([*(f"{name}={value}" for name, value in values.items()), shlex.join(wrapped.argv)])


def _shown(name: str, value: str, inherited: Mapping[str, str]) -> str:
    """Return the value for a shell; what the user has in the environment is named, since it may be a secret."""
    return f'"${name}"' if value and inherited.get(name) == value else shlex.quote(value)


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
    command = ServerCommand(tuple(argv), environment, Wrapper.of(config, cache_folder()))
    _refuse_secrets([*command.started_argv, *environment.values()])
    return command


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
