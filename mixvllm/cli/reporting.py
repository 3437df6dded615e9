"""Shows what became of sweeps and runs: one HTML file, figures, a Markdown table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixvllm.cli.terminal import remark
from mixvllm.report.choice import Asked, Axes, choose_axes
from mixvllm.report.figures import Format, write_figures
from mixvllm.report.html import write_html
from mixvllm.report.markdown import markdown_text
from mixvllm.report.read import read_studies
from mixvllm.report.study import Study
from mixvllm.runs.files import write_text

DEFAULT_OUTPUT = "report.html"


@dataclass(frozen=True)
class Wanted:
    """What is to be written; the page is, too, where nothing else is wanted.

    Args:
        output: file of the page; None = `report.html`.
        figures: folder of the figures.
        form: of the figures.
        markdown: file of the table; `-` = the terminal.
        title: of the page; None = the name of the sweep.
    """

    output: str | None = None
    figures: str | None = None
    form: Format = "png"
    markdown: str | None = None
    title: str | None = None


def write_report(paths: Sequence[str], wanted: Wanted, asked: Asked) -> int:
    """Write what is wanted of the sweeps and runs in `paths`, and say where it is; return 0.

    Raises:
        ConfigError: nothing of ours is in a path, there is no such metric or key, or an extra is not installed.
    """
    study = read_studies(paths)
    axes = choose_axes(study, asked)
    for line in study.remarks[:5]:
        remark(f"note: {line}")
    if wanted.markdown == "-":
        sys.stdout.write(markdown_text(study, axes))
    elif wanted.markdown:
        write_text(Path(wanted.markdown).absolute(), markdown_text(study, axes))
        remark(f"table    {wanted.markdown}")
    if wanted.figures:
        _show_figures(study, axes, Path(wanted.figures), wanted.form)
    if wanted.output or not (wanted.figures or wanted.markdown):
        output = wanted.output or DEFAULT_OUTPUT
        write_html(study, axes, Path(output).absolute(), wanted.title)
        remark(f"report   {output}  ({_counted(study)}); open it in a browser, it needs no network")
    return 0


def _show_figures(study: Study, axes: Axes, folder: Path, form: Format) -> None:
    written = write_figures(study, axes, folder, form)
    for path in written:
        remark(f"figure   {path}")
    if not written:
        remark("no figure: nothing was measured")


def _counted(study: Study) -> str:
    good = sum(point.verdict == "ok" for point in study.points)
    return f"{len(study.points):,} points, {good:,} good"
