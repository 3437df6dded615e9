"""The front door: argv to a configuration, a run and an exit code; errors in words, not tracebacks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from mixvllm.cli.arguments import Arguments, parse_arguments
from mixvllm.cli.exits import EXIT_OK, exit_code_of
from mixvllm.errors import ConfigError, Fault

if TYPE_CHECKING:
    from mixvllm.config.load import Composed


def main(argv: Sequence[str]) -> int:
    """Do what `argv` asks for and return the exit code.

    0: all of it was done. 1: it failed. 2: the configuration is wrong, nothing was started.
    128 + n: signal n stopped it.
    """
    return exit_code_of(lambda: _dispatch(parse_arguments(argv)))


def _dispatch(arguments: Arguments) -> int:
    if arguments.show == "version":
        sys.stdout.write(f"mixvllm {version('mixvllm')}\n")
        return EXIT_OK
    if arguments.show == "multirun":
        from mixvllm.cli.multirun import run_multirun

        return run_multirun(arguments)
    return _compose_and_do(arguments)


def _compose_and_do(arguments: Arguments) -> int:
    gc.disable()  # imports and composition make no garbage worth a tenth of their time
    try:
        from mixvllm.config.load import load_experiment

        if arguments.show == "help":
            return _show_help(arguments)
        launcher = [text for text in arguments.overrides if text.lstrip("+~").startswith("hydra")]
        own = [text for text in arguments.overrides if text not in launcher]
        composed = load_experiment(own, arguments.config_dirs)
        if launcher and composed.config.submit == "local":
            _refuse_slurm(launcher, arguments)
            composed = load_experiment(arguments.overrides, arguments.config_dirs)  # Hydra says what it means
    finally:
        gc.enable()
    if arguments.show == "config":
        from mixvllm.cli.show import show_config

        show_config(composed.config)
        return EXIT_OK
    if composed.config.submit == "slurm":
        from mixvllm.cli.submit import run_submitted

        return run_submitted(composed, launcher)
    return _do(composed)


def _refuse_slurm(overrides: Sequence[str], arguments: Arguments) -> None:
    """Raise where a launcher is chosen that would be passed over without a word."""
    from mixvllm.config.load.launcher import launcher_kind, launcher_name

    if launcher_kind(overrides, arguments.config_dirs) == "slurm":
        words = "is for sweeps, with --multirun; for one run there is submit=slurm"
        raise ConfigError([Fault("hydra/launcher", words, launcher_name(overrides))])


def _show_help(arguments: Arguments) -> int:
    from mixvllm.cli.show import show_help

    show_help(arguments)
    return EXIT_OK


def _do(composed: Composed) -> int:
    if composed.config.dry_run:
        from mixvllm.cli.show import show_command

        with composed.naming_origins():
            show_command(composed.config)
        return EXIT_OK
    if composed.config.detach:
        from mixvllm.cli.detach import run_detached

        return run_detached(composed)
    from mixvllm.cli.foreground import run_in_foreground

    return run_in_foreground(composed)
