"""The `mixvllm` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def launch(context: typer.Context) -> None:
    """Launch one server, as `python launch.py` does: mixvllm launch model=demo inference=cpu."""
    from mixvllm.cli.launch import main as launch_main

    raise typer.Exit(launch_main(context.args))


@app.command()
def demo_model(
    folder: Annotated[Path | None, typer.Argument(help="Where to put it; default: where model=demo looks.")] = None,
    python: Annotated[str, typer.Option(help="Interpreter that has torch and transformers.")] = sys.executable,
) -> None:
    """Make the small model that model=demo serves, on this machine, in seconds."""
    from mixvllm.demo import ensure_demo_model
    from mixvllm.errors import MixvllmError
    from mixvllm.machine.cache import cache_folder

    target = folder or cache_folder() / "demo-model"
    try:
        ensure_demo_model(target, python, lambda line: typer.echo(line, err=True))
    except MixvllmError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(str(target))


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
