"""A comparison in words: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixvllm.report.compare import Breach, Comparison, Pair
from mixvllm.report.compare_change import BETTER, DIFFERS, UNCLEAR, WORSE, Change
from mixvllm.report.compare_metrics import direction_words, shown_metrics
from mixvllm.report.study import Study, StudyPoint
from mixvllm.sweep.faults import shown_label
from mixvllm.sweep.text_table import cut, short_names, table

_MAX_ROWS = 20
_MAX_REMARKS = 8
_EXPLAINED = "change: of B against A, ± half of its 95 % interval"
_MAX_REMARK_WIDTHS = 2
_VERDICTS = (BETTER, WORSE, DIFFERS, UNCLEAR)
_SHORT = {UNCLEAR: "no clear"}


def text_lines(
    comparison: Comparison, width: int = 80, asked: Sequence[str] = (), *, everything: bool = False
) -> list[str]:
    """Return the comparison for a terminal of `width` characters.

    Args:
        comparison: what to tell.
        width: characters of the tables.
        asked: metrics; none = those that people look for first.
        everything: show all pairs; else those with the largest changes.
    """
    lines = [f"A  {_name(comparison.a)}", f"B  {_name(comparison.b)}", *_differences(comparison)]
    for metric in asked or shown_metrics(comparison.metrics):
        rows, num_more = _rows(comparison, metric, everything=everything)
        lines += ["", _heading(comparison, metric)]
        lines += table(
            _header(comparison), rows, width, right=frozenset(range(len(comparison.keys), _num_right(comparison)))
        )
        lines += [f"… and {num_more} points with smaller changes; --all shows them"] if num_more else []
    remarks = [cut(remark, _MAX_REMARK_WIDTHS * width) for remark in _remarks(comparison)]
    return [*lines, "", _EXPLAINED, *remarks]


def markdown_lines(comparison: Comparison, asked: Sequence[str] = (), *, everything: bool = False) -> list[str]:
    """Return the comparison as Markdown; see `text_lines`."""
    lines = [f"**A** {_cell(_name(comparison.a))}  ", f"**B** {_cell(_name(comparison.b))}"]
    differences = _differences(comparison)
    lines += ["", *(f"- {_cell(line)}" for line in differences)] if differences else []
    for metric in asked or shown_metrics(comparison.metrics):
        rows, num_more = _rows(comparison, metric, everything=everything)
        header = _header(comparison)
        marks = [
            "---" if at < len(comparison.keys) or at >= _num_right(comparison) else "---:" for at in range(len(header))
        ]
        lines += ["", f"**{_heading(comparison, metric)}**", ""]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in (header, marks, *rows)]
        lines += ["", f"… and {num_more} points with smaller changes."] if num_more else []
    remarks = [_EXPLAINED, *_remarks(comparison)]
    return [*lines, "", *(f"- {_cell(remark)}" for remark in remarks)]


def breach_lines(comparison: Comparison, breaches: Sequence[Breach]) -> list[str]:
    """Return a line for each condition that is met, and where."""
    lines = []
    for breach in breaches[:_MAX_ROWS]:
        what = "B has no good repeat" if breach.change is None else _change(breach.change)
        where = _labels(comparison, breach.pair)
        lines.append(f"failed: {breach.limit.text}: {what}{f' ({where})' if where else ''}")
    more = len(breaches) - _MAX_ROWS
    return [*lines, *([f"failed: … and {more} more"] if more > 0 else [])]


def _name(study: Study) -> str:
    names = [f"{source.name} ({source.kind})" for source in study.sources[:3]]
    more = len(study.sources) - 3
    return ", ".join([*names, *([f"and {more} more"] if more > 0 else [])])


def _differences(comparison: Comparison) -> list[str]:
    names = short_names([key.key for key in comparison.side_keys])
    asked = [
        f"{name}: {_values(key.key, key.a)} in A, {_values(key.key, key.b)} in B"
        for name, key in zip(names, comparison.side_keys, strict=True)
    ]
    around = [f"{name}: {a} in A, {b} in B" for name, (a, b) in comparison.environment.items()]
    return [*asked, *around]


def _values(key: str, values: Sequence[Any]) -> str:
    shown = [shown_label(key, value) for value in values[:3]]
    return ", ".join(shown) + (f" and {len(values) - 3} more" if len(values) > 3 else "")


def _heading(comparison: Comparison, metric: str) -> str:
    overall = comparison.overall(metric)
    counts = [f"{overall.verdicts[verdict]} {verdict}" for verdict in _VERDICTS if overall.verdicts.get(verdict)]
    direction = direction_words(metric)
    words = [direction] if direction else []
    if overall.num > 1:
        words += [", ".join(counts)] if counts else []
        words += [f"{overall.percent:+.1f} % over all {overall.num}"] if overall.percent is not None else []
    return f"{metric}{': ' if words else ''}{'; '.join(words)}"


def _header(comparison: Comparison) -> list[str]:
    return [*short_names(comparison.keys), "A", "B", "change", "verdict"]


def _num_right(comparison: Comparison) -> int:
    return len(comparison.keys) + 3


def _rows(comparison: Comparison, metric: str, *, everything: bool) -> tuple[list[list[str]], int]:
    """Return the cells of the pairs, and how many are left out."""
    pairs = list(comparison.pairs)
    if not everything and len(pairs) > _MAX_ROWS:
        pairs.sort(key=lambda pair: _size(pair.change(metric)), reverse=True)
        pairs = pairs[:_MAX_ROWS]
    rows = [[*_label_cells(comparison, pair), *_change_cells(pair, metric)] for pair in pairs]
    return rows, len(comparison.pairs) - len(pairs)


def _size(change: Change | None) -> tuple[bool, float]:
    if change is None:
        return True, float("inf")
    return change.is_clear, abs(change.percent(change.difference) or 0.0)


def _label_cells(comparison: Comparison, pair: Pair) -> list[str]:
    return [shown_label(key, pair.a.value(key)) for key in comparison.keys]


def _labels(comparison: Comparison, pair: Pair) -> str:
    names = short_names(comparison.keys)
    return ", ".join(f"{name}={text}" for name, text in zip(names, _label_cells(comparison, pair), strict=True))


def _change_cells(pair: Pair, metric: str) -> list[str]:
    change = pair.change(metric)
    if change is None:
        means = [_mean(point, metric) for point in (pair.a, pair.b)]
        return [*means, "-", "no numbers"]
    return [_number(change.a), _number(change.b), _relative(change), _verdict(change)]


def _mean(point: StudyPoint, metric: str) -> str:
    summary = point.summary(metric)
    return _number(summary.mean) if summary else point.verdict


def _verdict(change: Change) -> str:
    if change.low is None:
        return "one repeat"
    return _SHORT.get(change.verdict, change.verdict)


def _relative(change: Change) -> str:
    """Return the difference with half of its interval, as percentages of A where that is not 0: `+5.7 ±2.1 %`."""
    half = None if change.high is None else change.high - change.difference
    percent, half_percent = change.percent(change.difference), change.percent(half)
    if percent is None:
        return f"{change.difference:+.4g}" + ("" if half is None else f" ±{half:.3g}")
    digits = 1 if max(abs(percent), half_percent or 0) < 1000 else 0
    return f"{percent:+.{digits}f}" + ("" if half_percent is None else f" ±{half_percent:.{digits}f}") + " %"


def _change(change: Change) -> str:
    single = ", a single repeat" if change.low is None else ""
    return f"{_number(change.a)} to {_number(change.b)}, {_relative(change)}{single}"


def _number(value: float) -> str:
    """Return four digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _remarks(comparison: Comparison) -> list[str]:
    lines = [f"note: {remark}" for remark in comparison.remarks[:_MAX_REMARKS]]
    more = len(comparison.remarks) - _MAX_REMARKS
    return [*lines, *([f"note: … and {more} more; --json has all"] if more > 0 else [])]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
