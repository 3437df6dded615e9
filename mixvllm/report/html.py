"""One HTML file with everything in it: numbers, charts, and the program that draws them. It loads nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.choice import Axes
from mixvllm.report.page_data import as_script, page_data
from mixvllm.report.study import Study
from mixvllm.runs.files import write_text

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_MAX_NAMES = 3
_PROGRAM = ("core.js", "charts.js", "table.js", "detail.js", "main.js")


def write_html(study: Study, axes: Axes, path: Path, title: str | None = None) -> None:
    """Write the report of `study` to `path`, in one step, for its owner alone.

    Raises:
        ConfigError: plotly is not installed, or the file cannot be written.
    """
    text = page_text(study, axes, title)
    try:
        write_text(path, text)
    except OSError as error:
        raise ConfigError([Fault("--output", f"{path} cannot be written: {error.strerror}")]) from error


def page_text(study: Study, axes: Axes, title: str | None = None) -> str:
    """Return the page.

    Its policy allows no network, and no other scripts than its own two: whatever a model, a key or a reason is called,
    it stays text.

    Raises:
        ConfigError: plotly is not installed.
    """
    plotly, program = _plotly(), "\n".join(_part(name) for name in _PROGRAM)
    parts = {
        "policy": html.escape(_policy(plotly, program)),
        "title": html.escape(title or title_of(study)),
        "style": _part("page.css"),
        "data": as_script(page_data(study, axes)),
        "plotly": plotly,
        "program": program,
    }
    return _filled(_part("page.html"), parts)


def _filled(page: str, parts: Mapping[str, str]) -> str:
    """Return `page` with each `{{name}}` replaced; what a part holds is not looked into."""
    texts = _PLACE.split(page)
    return "".join(parts[text] if number % 2 else text for number, text in enumerate(texts))


def title_of(study: Study) -> str:
    """Return what a report of `study` is called."""
    names = [source.name for source in study.sources]
    rest = len(names) - _MAX_NAMES
    return f"vLLM report: {', '.join(names[:_MAX_NAMES])}{f' and {rest} more' if rest > 0 else ''}"


def _policy(*scripts: str) -> str:
    # Plotly's WebGL charts compile their drawing functions, which needs unsafe-eval; its charts set styles.
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _part(name: str) -> str:
    return (files("mixvllm.report") / "page" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    try:
        offline = importlib.import_module("plotly.offline")
    except ModuleNotFoundError as error:
        words = f"{error.name} is not installed: pip install 'mixvllm[report]'; --markdown - needs nothing"
        raise ConfigError([Fault("report", words)]) from error
    script: str = offline.get_plotlyjs()
    return script.replace("</script", "<\\/script")
