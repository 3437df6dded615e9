"""The front door: argv to a configuration, a run and an exit code; errors in words, not tracebacks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from mixvllm.cli.arguments import Arguments, parse_arguments
from mixvllm.errors import ConfigError, Fault, MixvllmError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    """Do what `argv` asks for and return the exit code.

    0: all of it was done. 1: it failed. 2: the configuration is wrong, nothing was started.
    128 + n: signal n stopped it.
    """
    try:
        return _dispatch(parse_arguments(argv))
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"error: {fault}\n")
        return EXIT_CONFIG
    except MixvllmError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:  # before anything was started; a run takes its signals itself
        return EXIT_INTERRUPTED


def _dispatch(arguments: Arguments) -> int:
    if arguments.show == "version":
        sys.stdout.write(f"mixvllm {version('mixvllm')}\n")
        return EXIT_OK
    if arguments.show == "multirun":
        raise ConfigError([Fault("--multirun", "this release runs one point at a time: start them one by one")])
    return _compose_and_do(arguments)


def _compose_and_do(arguments: Arguments) -> int:
    from mixvllm.cli import show
    from mixvllm.config.load import load_experiment

    if arguments.show == "help":
        show.show_help(arguments)
        return EXIT_OK
    composed = load_experiment(arguments.overrides, arguments.config_dirs)
    if arguments.show == "config":
        show.show_config(composed.config)
    elif composed.config.dry_run:
        show.show_command(composed.config)
    else:
        from mixvllm.cli.foreground import run_in_foreground

        return run_in_foreground(composed)
    return EXIT_OK
