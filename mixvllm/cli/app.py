"""The `mixvllm` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mixvllm.cli.exits import exit_code_of
from mixvllm.cli.fleet.commands import COMMANDS
from mixvllm.cli.report import report
from mixvllm.cli.result_commands import RESULT_COMMANDS

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


def _complete(incomplete: str) -> list[str]:
    from mixvllm.cli.complete import complete_override

    return complete_override(incomplete)


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def launch(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[OVERRIDE…]", autocompletion=_complete)] = None,
) -> None:
    """Launch one server, as `python launch.py` does: mixvllm launch model=demo inference=cpu."""
    from mixvllm.cli.launch import main as launch_main

    raise typer.Exit(launch_main(overrides or []))


for command in (*COMMANDS, report, *RESULT_COMMANDS):
    app.command()(command)


@app.command()
def demo_model(
    folder: Annotated[Path | None, typer.Argument(help="Where to put it; default: where model=demo looks.")] = None,
    python: Annotated[str, typer.Option(help="Interpreter that has torch and transformers.")] = sys.executable,
) -> None:
    """Make the small model that model=demo serves, on this machine, in seconds."""
    from mixvllm.demo import FOLDER, ensure_demo_model
    from mixvllm.machine.folders import cache_folder

    target = folder or cache_folder() / FOLDER

    def make() -> int:
        ensure_demo_model(target, python, lambda line: typer.echo(line, err=True))
        typer.echo(str(target))
        return 0

    raise typer.Exit(exit_code_of(make))


@app.command(context_settings={"ignore_unknown_options": True})
def preflight(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[OVERRIDE…]", autocompletion=_complete)] = None,
) -> None:
    """Tell whether this machine can run a configuration: GPUs, weights, memory, limits. Starts nothing."""
    from mixvllm.cli.preflight import show_preflight

    raise typer.Exit(exit_code_of(lambda: show_preflight(overrides or [])))


@app.command()
def models(
    config_dir: Annotated[
        list[str] | None, typer.Option("--config-dir", help="Folder with models of your own.")
    ] = None,
) -> None:
    """List the models of the catalogue: size, context, and how many GPUs of each class they take."""
    from mixvllm.cli.models import show_models

    raise typer.Exit(exit_code_of(lambda: show_models(config_dir or [])))


@app.command()
def explain(keys: Annotated[list[str], typer.Argument(metavar="KEY…", autocompletion=_complete)]) -> None:
    """Tell what a key, or an argument of vLLM, means: type, choices, default, flag, and which options set it."""
    from mixvllm.cli.explain import explain as explain_key

    def show() -> int:
        typer.echo("\n\n".join(explain_key(key) for key in keys))
        return 0

    raise typer.Exit(exit_code_of(show))


@app.command("import", context_settings={"ignore_unknown_options": True})
def import_(
    words: Annotated[list[str] | None, typer.Argument(metavar="-- vllm serve …")] = None,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="Print an experiment file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print overrides and remarks as JSON.")] = False,
) -> None:
    """Turn a vLLM command line into overrides: as words after --, as one text in quotes, or - to read it from stdin."""
    from mixvllm.cli.import_ import import_words

    form = "yaml" if as_yaml else "json" if as_json else "command"
    raise typer.Exit(exit_code_of(lambda: import_words(words or [], form)))


@app.command()
def version() -> None:
    """Show the version."""
    from importlib.metadata import version as version_of

    typer.echo(f"mixvllm {version_of('mixvllm')}")


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
