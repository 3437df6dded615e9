"""`mixvllm compare`: two sweeps or runs side by side."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.report.compare import Breach, Comparison, compare
from mixvllm.report.compare_json import json_text
from mixvllm.report.compare_limits import read_limits
from mixvllm.report.compare_text import breach_lines, markdown_lines, text_lines
from mixvllm.report.read import read_studies


@dataclass(frozen=True)
class Shown:
    """What is shown of a comparison.

    Args:
        metrics: shape (n,); none = those that people look for first.
        form: `text`, `markdown` or `json`.
        everything: all points, not only the largest changes.
    """

    metrics: tuple[str, ...] = ()
    form: str = "text"
    everything: bool = False


def show_comparison(a: str, b: str, shown: Shown, fail_on: Sequence[str] = (), *, force: bool = False) -> int:
    """Print the comparison; return the exit code: 1 where a condition of `fail_on` is met.

    Args:
        a: folder of a sweep or a run, or of results of vLLM's own benchmarks.
        b: what is compared with it.
        shown: what is printed.
        fail_on: conditions on changes, see `Limit`.
        force: compare also other workloads, and a CPU with a GPU.

    Raises:
        ConfigError: they cannot be compared, or an argument is wrong.
    """
    limits = read_limits(fail_on)
    found = compare(read_studies([a]), read_studies([b]), asked=shown.metrics, limits=limits, force=force)
    breaches = list(found.breaches(limits))
    sys.stdout.write(_text(found, breaches, shown))
    sys.stdout.flush()
    for line in breach_lines(found, breaches):
        sys.stderr.write(f"{line}\n")
    return EXIT_FAILED if breaches else EXIT_OK


def _text(found: Comparison, breaches: Sequence[Breach], shown: Shown) -> str:
    if shown.form == "json":
        return f"{json_text(found, breaches, shown.metrics)}\n"
    if shown.form == "markdown":
        lines = markdown_lines(found, shown.metrics, everything=shown.everything)
        failed = breach_lines(found, breaches)
        lines += ["", *(f"- {line}" for line in failed)] if failed else []
    else:
        lines = text_lines(found, shutil.get_terminal_size().columns, shown.metrics, everything=shown.everything)
    return "".join(f"{line}\n" for line in lines)
