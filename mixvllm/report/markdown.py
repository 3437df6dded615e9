"""The points of a study as a Markdown table, for papers and pull requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mixvllm.report.choice import Axes, best_of, objectives_of
from mixvllm.report.metrics import metric_of
from mixvllm.report.study import Study, StudyPoint
from mixvllm.sweep.faults import shown_label
from mixvllm.sweep.statistics import Summary
from mixvllm.sweep.text_table import rounded

_MAX_METRICS = 4
_SPECIAL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", ">": "&gt;", "`": "'"})


def markdown_text(study: Study, axes: Axes) -> str:
    """Return the points with their main metrics, what is best, what is not good, and the versions."""
    metrics = _metrics(study, axes)
    parts = [
        "\n".join(_table(study, metrics)),
        "Mean ± half of the 95 % confidence interval (Student's t) over n good repeats.",
        "\n".join(_best(study)),
        "\n".join(_problems(study)),
        _versions(study),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def shown_summary(summary: Summary | None) -> str:
    """Return mean, half of the interval and number of repeats: `1,234 ±12 (n 3)`."""
    if summary is None:
        return "-"
    half = summary.half_width
    if half is None:
        return f"{rounded(summary.mean, abs(summary.mean) / 100)} (n {summary.num})"
    return f"{rounded(summary.mean, half or abs(summary.mean) / 100)} ±{rounded(half, half or 100)} (n {summary.num})"


def _metrics(study: Study, axes: Axes) -> list[str]:
    asked = [axes.y, axes.throughput, axes.latency, *(objective.metric for objective in objectives_of(study))]
    return list(dict.fromkeys(name for name in asked if name))[:_MAX_METRICS]


def _table(study: Study, metrics: Sequence[str]) -> Iterator[str]:
    has_folders = len(study.sources) > 1
    heads = [*(["folder"] if has_folders else []), "point", *study.swept, "GPUs", "good"]
    yield _line([*heads, *(metric_of(name).label for name in metrics)])
    yield _line(["---"] * len(heads) + ["---:"] * len(metrics))
    for point in study.points:
        yield _line(
            [
                *([point.study] if has_folders else []),
                str(point.index),
                *(shown_label(key, point.value(key)) for key in study.swept),
                "?" if point.num_gpus is None else str(point.num_gpus),
                f"{point.num_ok}/{point.num_repeats}" if point.verdict == "ok" else point.verdict,
                *(shown_summary(point.summary(name)) for name in metrics),
            ]
        )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.translate(_SPECIAL) for cell in cells)} |"


def _best(study: Study) -> Iterator[str]:
    for objective in objectives_of(study):
        best = best_of(study.points, objective)
        if best is None:
            continue
        words = f"{'highest' if objective.is_higher_better else 'lowest'} `{objective.metric}`"
        point = study.points[best.row["at"]]
        value = f"{shown_summary(point.summary(objective.metric))} {metric_of(objective.metric).unit}"
        if best.rivals:
            yield f"- {words}: no clear winner; best mean at {point.name.translate(_SPECIAL)}, {value}"
        else:
            yield f"- {words}: {point.name.translate(_SPECIAL)}, {value}"


def _problems(study: Study) -> Iterator[str]:
    for point in study.points:
        if point.verdict != "ok":
            yield f"- {point.name} {point.verdict}: {point.reason}".translate(_SPECIAL)


def _versions(study: Study) -> str:
    found = {f"{name} {text}" for point in study.points for name, text in _all_versions(point)}
    return f"Versions: {', '.join(sorted(found))}." if found else ""


def _all_versions(point: StudyPoint) -> Iterator[tuple[str, str]]:
    yield from point.versions.items()
    for repeat in point.repeats:
        yield from repeat.versions.items()
