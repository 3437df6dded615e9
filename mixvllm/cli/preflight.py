"""Shows a preflight, and decides by it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mixvllm.cli.arguments import parse_arguments
from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.config.load import load_experiment
from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import PreflightFailed
from mixvllm.machine.preflight import Check, run_preflight
from mixvllm.server.command import ServerCommand, server_command
from mixvllm.vllm.installation import Installation, installation_of


def look_ahead(
    config: ExperimentConfig, installation: Installation, command: ServerCommand, *, is_serving: bool = False
) -> None:
    """Look at what this machine lacks for `config`, show it where it is anything, and refuse where it must fail.

    Args:
        is_serving: whether a server that this one replaces holds its GPUs still.

    Raises:
        PreflightFailed: there is an error, and `preflight` is strict.
    """
    if config.preflight == "off":
        return
    checks = checks_for(config, installation, command, is_serving=is_serving)
    if any(check.verdict != "ok" for check in checks):
        from mixvllm.cli.preflight_table import print_table  # needs a library that holds up no start without a finding

        print_table(checks, sys.stderr)
    errors = [check for check in checks if check.verdict == "error"]
    if errors and config.preflight == "strict":
        raise PreflightFailed(_refusal(errors))


def show_preflight(argv: Sequence[str]) -> int:
    """Print the whole table for what `argv` composes to; return 1 where there is an error, else 0."""
    from mixvllm.cli.preflight_table import print_table

    arguments = parse_arguments(argv)
    config = load_experiment(arguments.overrides, arguments.config_dirs).config
    installation = installation_of(config)
    checks = checks_for(config, installation, server_command(config, installation))
    print_table(checks, sys.stdout)
    return EXIT_FAILED if any(check.verdict == "error" for check in checks) else EXIT_OK


def checks_for(
    config: ExperimentConfig, installation: Installation, command: ServerCommand, *, is_serving: bool = False
) -> list[Check]:
    """Return everything that was looked at on this machine."""
    return run_preflight(
        config,
        version=installation.version,
        is_cpu=installation.is_cpu,
        python=installation.python,
        environment={**os.environ, **command.environment},
        is_serving=is_serving,
    )


def _refusal(errors: Sequence[Check]) -> str:
    lines = [f"  {check.subject}: {check.finding}\n    next: {check.mend}" for check in errors]
    return "\n".join(["this machine cannot run it", *lines, "  preflight=warn goes on all the same"])
