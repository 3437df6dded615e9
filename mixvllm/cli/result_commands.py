"""The commands on results, as the `mixvllm` program has them."""

from __future__ import annotations

from typing import Annotated

import typer

from mixvllm.cli.exits import exit_code_of


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A sweep or a run; also results of vllm bench (sweep) serve.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What is compared with A.")],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME", help="Metric to show; may be given several times.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="CONDITION",
            help="Exit with 1 where B less A is beyond a limit: 'p99_ttft_ms>+5%', 'output_tokens_per_s<-50'. "
            "Met where the whole 95 % interval is beyond it, or of a single repeat the difference; "
            "and where B has no numbers of a point that A has numbers of. May be given several times.",
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show all points, not only the largest changes.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: all points, all metrics.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Compare other workloads, too, and a CPU with GPUs.")] = False,
) -> None:
    """Compare two sweeps or runs, point by point. Exit codes: 0; 1 a --fail-on is met; 2 they do not compare."""
    from mixvllm.cli.compare import Shown, show_comparison

    form = "json" if as_json else "markdown" if as_markdown else "text"
    shown = Shown(tuple(metric or ()), form, everything=everything)
    raise typer.Exit(exit_code_of(lambda: show_comparison(a, b, shown, fail_on or [], force=force)))


def track(
    folders: Annotated[list[str], typer.Argument(metavar="DIR…", help="Sweeps, runs, results of vllm bench.")],
    to: Annotated[list[str], typer.Option("--to", metavar="TRACKER", help="mlflow or wandb; several with --to each.")],
    project: Annotated[
        str, typer.Option("--project", "--experiment", metavar="NAME", help="Of W&B, or the experiment of MLflow.")
    ] = "mixvllm",
    uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Of the tracker; default: what its environment variables say."),
    ] = None,
) -> None:
    """Log points, parameters, metrics and files to MLflow or W&B. Told twice, a tracker has everything once."""
    from mixvllm.cli.track import track_results
    from mixvllm.report.track import Target

    raise typer.Exit(exit_code_of(lambda: track_results(folders, to, Target(project, uri))))


RESULT_COMMANDS = (compare, track)
"""In the order that help shows them."""
