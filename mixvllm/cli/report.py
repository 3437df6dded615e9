"""The command `mixvllm report`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixvllm.cli.exits import exit_code_of


class FigureFormat(StrEnum):
    """What figures are written as."""

    PNG = "png"
    SVG = "svg"


_Folders = Annotated[list[Path], typer.Argument(metavar="DIR…", help="Sweeps or runs, or folders that hold some.")]
_Output = Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Default: report.html.")]
_Figures = Annotated[str | None, typer.Option(metavar="DIR", help="Write figures there.")]
_Format = Annotated[FigureFormat, typer.Option("--format", help="Of the figures.")]
_Markdown = Annotated[str | None, typer.Option(metavar="FILE", help="Write a Markdown table; - prints it.")]
_Latency = Annotated[str | None, typer.Option(metavar="METRIC", help="Of the trade-off: less is better.")]
_Throughput = Annotated[str | None, typer.Option(metavar="METRIC", help="Of the trade-off: more is better.")]
_X = Annotated[str | None, typer.Option("--x", metavar="KEY", help="Key across the curves.")]
_Y = Annotated[str | None, typer.Option("--y", metavar="METRIC", help="Metric of the curves.")]
_By = Annotated[str | None, typer.Option("--by", metavar="KEY", help="Key that tells points apart by colour.")]
_Title = Annotated[str | None, typer.Option(help="Of the page.")]


def report(  # noqa: PLR0913, PLR0917 - the options of the command
    folders: _Folders,
    output: _Output = None,
    figures: _Figures = None,
    format_: _Format = FigureFormat.PNG,
    markdown: _Markdown = None,
    latency: _Latency = None,
    throughput: _Throughput = None,
    x: _X = None,
    y: _Y = None,
    by: _By = None,
    title: _Title = None,
) -> None:
    """Make one HTML file of sweeps and runs, to look at without a network; figures and a table for papers.

    The HTML file is written unless only --figures or --markdown is given.
    """
    from mixvllm.cli.reporting import Wanted, write_report
    from mixvllm.report.choice import Asked

    asked = Asked(latency, throughput, x, y, by)
    wanted = Wanted(output, figures, "svg" if format_ is FigureFormat.SVG else "png", markdown, title)
    raise typer.Exit(exit_code_of(lambda: write_report([str(folder) for folder in folders], wanted, asked)))
