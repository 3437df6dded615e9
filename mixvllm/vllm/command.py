"""The command that starts one vLLM server, from configuration alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.fields import LAUNCHER_ONLY, OUR_DEFAULT, Section
from mixvllm.vllm.arguments import Release
from mixvllm.vllm.describe import CLI_MODULE


def build_vllm_command(
    config: ServeConfig,
    *,
    python: str = "python",
    module: str = CLI_MODULE,
    port: int | None = None,
    identity: str | None = None,
    release: Release | None = None,
) -> list[str]:
    """Return the argv that starts one vLLM server for `config`.

    Pure: reads no file, environment variable or GPU. Secrets never appear in it. Only what is set appears in it:
    an argument that is null stays vLLM's own default.

    Args:
        config: validated.
        python: interpreter to use where `server.python` names none.
        module: entry point of the installed release, see `find_installation`.
        port: the port that was chosen where `server.port` is `auto`; None leaves vLLM's default.
        identity: one more served name, by which this very server can be recognised.
        release: tells how arguments without a key of their own are written; None guesses by their values.

    Returns:
        Arguments, shape (n,), program first; for `Popen` without a shell.

    Source: vLLM engine and front-end arguments, checked against the installed release in the engine tests.
    """
    is_local = config.runtime.kind == "local"
    program = [(config.server.python if is_local else config.runtime.python) or python, "-m", module]
    model = ["serve", config.model.name] if module == CLI_MODULE else ["--model", config.model.name]
    return [*program, *model, *_arguments(config, port, identity), *_extras(config, release)]


def _arguments(config: ServeConfig, port: int | None, identity: str | None) -> Iterator[str]:
    yield from _section(config.model)
    yield from _section(config.inference)
    yield from _section(config.generation)
    yield from render("override_generation_config", config.generation_on_server or None)
    yield from render("served_model_name", _served_names(config, identity))
    yield from _section(config.server)
    yield from render("port", port if config.server.port == "auto" else config.server.port)
    yield from render("shutdown_timeout", config.server.drain_timeout_s)


def _section(section: Section) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if LAUNCHER_ONLY not in field.metadata and (value != field.default or OUR_DEFAULT in field.metadata):
            yield from render(name, value)


def _extras(config: ServeConfig, release: Release | None) -> Iterator[str]:
    for section in (config.model, config.inference, config.server):
        for name, value in section.extra_args.items():
            argument = release.find(name) if release else None
            yield from argument.render(value) if argument else render(name, value)


def _served_names(config: ServeConfig, identity: str | None) -> list[str] | None:
    if identity is not None:
        return [*config.model.served_names, identity]
    return None if config.model.served_model_name is None else list(config.model.served_names)


def render(name: str, value: Any) -> list[str]:
    """Return the arguments by which vLLM's parser reads `value` back for the argument `name`.

    Null gives none, a switch `--name` or `--no-name`, a mapping JSON, a list one argument each.
    """
    flag = f"--{name.replace('_', '-')}"
    if value is None:
        return []
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, Mapping):
        return [flag, json.dumps(value, separators=(",", ":"))]
    if isinstance(value, (list, tuple)):
        return [flag, *map(str, value)]
    text = str(value)
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
