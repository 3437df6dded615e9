"""The front door: argv to a configuration, a run and an exit code; errors in words, not tracebacks."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib.metadata import version

from mixvllm.cli.arguments import Arguments, parse_arguments
from mixvllm.config.load import Composed, load_experiment
from mixvllm.errors import ConfigError, EngineNotFound, Fault, MixvllmError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2


def main(argv: Sequence[str]) -> int:
    """Do what `argv` asks for and return the exit code.

    0: all of it was done. 1: it failed. 2: the configuration is wrong, nothing was started. 128 + n: stopped by signal n.
    """
    try:
        return _dispatch(parse_arguments(argv))
    except ConfigError as error:
        for fault in error.faults:
            _complain(str(fault))
        return EXIT_CONFIG
    except MixvllmError as error:
        _complain(str(error))
        return EXIT_FAILED


def _dispatch(arguments: Arguments) -> int:
    if arguments.show == "version":
        sys.stdout.write(f"mixvllm {version('mixvllm')}\n")
        return EXIT_OK
    if arguments.show == "help":
        return _show_help(arguments)
    if arguments.show == "multirun":
        raise ConfigError([Fault("--multirun", "sweeps come with a later release; run the points one by one")])
    composed = load_experiment(arguments.overrides, arguments.config_dirs)
    if arguments.show == "config":
        sys.stdout.write(_as_yaml(composed))
        return EXIT_OK
    return _show_command(composed) if composed.config.dry_run else _run(composed)


def _show_help(arguments: Arguments) -> int:
    """Print the help whatever the configuration is like; then say what is wrong with it, if anything is."""
    from mixvllm.cli.help import help_text
    from mixvllm.config.load.session import groups, hydra_session

    with hydra_session(arguments.config_dirs) as loader:
        sys.stdout.write(help_text(groups(loader)))
    load_experiment(arguments.overrides, arguments.config_dirs)
    return EXIT_OK


def _as_yaml(composed: Composed) -> str:
    import yaml

    return yaml.safe_dump(composed.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _show_command(composed: Composed) -> int:
    """Print the command alone on stdout, so that it can be pasted or piped; remarks go to stderr."""
    from mixvllm.server.command import server_command
    from mixvllm.server.key import shell_expression
    from mixvllm.vllm.command import CLI_MODULE
    from mixvllm.vllm.installation import Installation, find_installation

    config = composed.config
    try:
        installation = find_installation(config.server.python)
    except EngineNotFound as error:
        installation = Installation(config.server.python or sys.executable, "unknown", "vllm", CLI_MODULE)
        _remark(f"{error}\n(the command is shown all the same)")
    sys.stdout.write(server_command(config, installation).shell(shell_expression(config.server)) + "\n")
    if config.model.recipe:
        from pathlib import Path

        from mixvllm.demo import is_made

        if not is_made(Path(config.model.name)):
            _remark(f"the model is not made yet; a run of it, or `mixvllm demo-model`, makes {config.model.name}")
    return EXIT_OK


def _run(composed: Composed) -> int:
    """Run one point in the foreground."""
    began = time.monotonic()
    from mixvllm.runs.folder import RunFolder
    from mixvllm.server.signals import StopSignals
    from mixvllm.sweep.point import freeze
    from mixvllm.sweep.runner import run_point
    from mixvllm.vllm.installation import find_installation

    with StopSignals() as signals:
        point = freeze(composed.config, composed.overrides, find_installation(composed.config.server.python))
        folder = RunFolder.create(composed.config.output_dir)
        from mixvllm.cli.screen import Screen

        screen = Screen()
        try:
            outcome = run_point(
                point,
                folder,
                signals,
                observers=[screen],
                on_ready=lambda server: screen.show_ready(server, time.monotonic() - began),
                say=screen.say,
            )
        finally:
            screen.close()
        if outcome.error is not None:
            _complain(str(outcome.error))
            return EXIT_FAILED
        if outcome.status == "ok" and composed.config.workload.kind == "probe":
            screen.show_probe(outcome.figures)
        return signals.exit_code or EXIT_OK


def _complain(text: str) -> None:
    sys.stderr.write(f"error: {text}\n")


def _remark(text: str) -> None:
    sys.stderr.write(f"{text}\n")
