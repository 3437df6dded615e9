"""What the launcher shows without starting anything: help, the configuration, the command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import yaml

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.help import help_text
from mixvllm.cli.terminal import remark
from mixvllm.config.load import load_experiment
from mixvllm.config.load.session import groups, hydra_session
from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.config.schema import ExperimentConfig
from mixvllm.demo import is_made
from mixvllm.errors import EngineNotFound
from mixvllm.runs.secrets import known_secrets, mask
from mixvllm.server.command import server_command
from mixvllm.server.key import shell_expression
from mixvllm.vllm.describe import CLI_MODULE
from mixvllm.vllm.installation import Installation, installation_of


def show_help(arguments: Arguments) -> None:
    """Print the help whatever the configuration is like; then raise what is wrong with it, if anything is."""
    with hydra_session(arguments.config_dirs) as loader:
        sys.stdout.write(help_text(groups(loader)))
    load_experiment(arguments.overrides, arguments.config_dirs)


def show_config(config: ExperimentConfig) -> None:
    """Print `config` as YAML; what was put into it from the environment, and is a secret there, is masked."""
    values = json.loads(mask(config.model_dump_json(), known_secrets(os.environ)))
    sys.stdout.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def show_command(config: ExperimentConfig) -> None:
    """Print the command alone on stdout, so that it can be pasted or piped; remarks go to stderr."""
    command = server_command(config, _installation(config), say=remark)
    sys.stdout.write(command.shell(shell_expression(config.server)) + "\n")
    if config.model.recipe == "demo" and not is_made(Path(config.model.name)):
        remark("the demo model is not made yet: a run makes it, or `mixvllm demo-model`")


def _installation(config: ExperimentConfig) -> Installation:
    """Return the vLLM that would serve; where there is none, the one that is usual."""
    try:
        return installation_of(config, remark)
    except EngineNotFound as error:
        remark(f"{error}\n  (the command is shown all the same, checked against vLLM {SUPPORTED_RELEASE})")
        inside = None if config.runtime.kind == "local" else config.runtime.interpreter
        return Installation(inside or config.server.python or sys.executable, "unknown", "vllm", CLI_MODULE)
