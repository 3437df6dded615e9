"""Figures of a study for papers and pull requests, drawn by matplotlib."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.choice import Axes
from mixvllm.report.metrics import key_label, metric_of
from mixvllm.report.pareto import pareto_front
from mixvllm.report.study import Study, StudyPoint
from mixvllm.sweep.faults import shown_label
from mixvllm.sweep.statistics import Summary
from mixvllm.vllm.phases import PHASES

Format = Literal["png", "svg"]

_SIZE_INCHES = (6.4, 4.2)
_DPI = 200
_MAX_INTERVALS = 300
_MAX_GROUPS = 12
_MAX_BARS = 30
_MARKERS = "osD^vPX*<>hp"


@dataclass(frozen=True)
class _Shown:
    """A point with its place in a chart."""

    point: StudyPoint
    x: Summary
    y: Summary


def write_figures(study: Study, axes: Axes, folder: Path, form: Format) -> list[Path]:
    """Write the figures that `study` has numbers for to `folder`, which is made, and return them.

    `tradeoff`: throughput, per GPU where there are any, against latency; `curve`; `startup`.

    Raises:
        ConfigError: matplotlib is not installed, or the folder cannot be written.
    """
    pyplot = _pyplot()
    drawers: Mapping[str, Callable[[Any, Study, Axes], bool]] = {
        "tradeoff": _draw_tradeoff,
        "curve": _draw_curve,
        "startup": _draw_startup,
    }
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in drawers.items():
            figure, place = pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")
            if draw(place, study, axes):
                path = folder / f"{name}.{form}"
                figure.savefig(path, dpi=_DPI, metadata={"Date": None} if form == "svg" else None)
                written.append(path)
            pyplot.close(figure)
    except OSError as error:
        raise ConfigError([Fault("--figures", f"{folder} cannot be written: {error.strerror}")]) from error
    return written


def _pyplot() -> Any:
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ModuleNotFoundError as error:
        words = f"{error.name} is not installed: pip install 'mixvllm[report]'"
        raise ConfigError([Fault("--figures", words)]) from error
    matplotlib.use("Agg")  # no window, whatever the environment says
    return importlib.import_module("matplotlib.pyplot")


def _draw_tradeoff(place: Any, study: Study, axes: Axes) -> bool:
    if axes.latency is None or axes.throughput is None:
        return False
    is_per_gpu = metric_of(axes.throughput).is_throughput and any(point.num_gpus for point in study.points)
    shown = list(_tradeoff(study, axes.latency, axes.throughput, is_per_gpu=is_per_gpu))
    if not shown:
        return False
    for number, (name, members) in enumerate(_groups(shown, axes.by or axes.x)):
        _scatter(place, members, number, name, with_intervals=len(shown) <= _MAX_INTERVALS)
    front = [shown[index] for index in pareto_front([(one.x.mean, -one.y.mean) for one in shown])]
    places = ([one.x.mean for one in front], [one.y.mean for one in front])
    place.step(*places, where="post", color="0.3", linestyle=":", label="front")
    unit = metric_of(axes.throughput).unit + (" per GPU" if is_per_gpu else "")
    place.set_xlabel(metric_of(axes.latency).label)
    place.set_ylabel(f"{axes.throughput} ({unit})")
    place.set_xlim(*_limits([one.x for one in shown]))
    _finish(place, [one.y for one in shown])
    return True


def _tradeoff(study: Study, latency: str, throughput: str, *, is_per_gpu: bool) -> Iterator[_Shown]:
    for point in study.points:
        x, y = point.summary(latency), point.summary(throughput)
        if x is None or y is None or (is_per_gpu and not point.num_gpus):
            continue
        yield _Shown(point, x, divided(y, point.num_gpus or 1) if is_per_gpu else y)


def divided(summary: Summary, share: int) -> Summary:
    """Return `summary` of values that are all divided by `share`."""
    parts = (summary.std, summary.ci95_low, summary.ci95_high)
    std, ci95_low, ci95_high = (None if part is None else part / share for part in parts)
    return Summary(summary.num, summary.mean / share, std, ci95_low, ci95_high)


def _draw_curve(place: Any, study: Study, axes: Axes) -> bool:
    if axes.x is None or axes.y is None:
        return False
    found = [(point, point.summary(axes.y)) for point in study.points]
    known = [(point, summary) for point, summary in found if summary is not None]
    if not known:
        return False
    values = [point.value(axes.x) for point, _ in known]
    is_numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    texts = list(dict.fromkeys(str(value) for value in values))
    shown = [
        _Shown(point, _exactly(float(value) if is_numeric else texts.index(str(value))), summary)
        for (point, summary), value in zip(known, values, strict=True)
    ]
    for number, (name, members) in enumerate(_groups(shown, axes.by)):
        for line in _lines(members, (axes.x, axes.by)):
            place.plot([one.x.mean for one in line], [one.y.mean for one in line], color=f"C{number % 10}", linewidth=1)
        _scatter(place, members, number, name, with_intervals=len(shown) <= _MAX_INTERVALS)
    if not is_numeric:
        place.set_xticks(range(len(texts)), texts, rotation=30, ha="right")
    place.set_xlabel(key_label(axes.x))
    place.set_ylabel(metric_of(axes.y).label)
    _finish(place, [one.y for one in shown])
    return True


def _draw_startup(place: Any, study: Study, _axes: Axes) -> bool:
    started = [server for server in study.servers if server.startup_s]
    slowest = sorted(started, key=lambda server: -sum(server.startup_s.values()))[:_MAX_BARS]
    if not slowest:
        return False
    rows = range(len(slowest))
    left = [0.0] * len(slowest)
    for phase in PHASES:
        lengths = [server.startup_s.get(phase, 0.0) for server in slowest]
        place.barh(rows, lengths, left=left, label=phase)
        left = [begin + length for begin, length in zip(left, lengths, strict=True)]
    place.set_yticks(rows, [server.name for server in slowest])
    place.invert_yaxis()
    place.set_xlabel("time since the start of the process (s)")
    place.set_ylabel("server run")
    place.tick_params(axis="y", labelsize=7)
    place.figure.legend(fontsize=8, ncols=len(PHASES), loc="outside upper center", frameon=False, columnspacing=1.0)
    return True


def _exactly(value: float) -> Summary:
    return Summary(1, value, None, None, None)


def _groups(shown: Sequence[_Shown], key: str | None) -> list[tuple[str, list[_Shown]]]:
    groups: dict[str, list[_Shown]] = {}
    for one in shown:
        name = f"{key.rpartition('.')[2]}={shown_label(key, one.point.value(key))}" if key else "points"
        groups.setdefault(name, []).append(one)
    return sorted(groups.items(), key=lambda group: _order(group[1][0].point.value(key) if key else None))


def _order(value: Any) -> tuple[int, float, str]:
    """Return what sorts values of a key: none, numbers, texts."""
    if isinstance(value, int | float):
        return 1, value, ""
    return (0, 0.0, "") if value is None else (2, 0.0, str(value))


def _lines(shown: Sequence[_Shown], apart: Sequence[str | None]) -> list[list[_Shown]]:
    """Return the points of a sweep that differ in nothing else that was swept than `apart`, each by its x."""
    lines: dict[tuple[str, ...], list[_Shown]] = {}
    for one in sorted(shown, key=lambda one: one.x.mean):
        rest = (str(one.point.value(key)) for key in one.point.source.swept if key not in apart)
        lines.setdefault((one.point.study, *rest), []).append(one)
    return list(lines.values())


def _scatter(place: Any, shown: Sequence[_Shown], number: int, name: str, *, with_intervals: bool) -> None:
    x, y = ([one.x.mean for one in shown], [one.y.mean for one in shown])
    style = {"color": f"C{number % 10}", "marker": _MARKERS[number % len(_MARKERS)]}
    label = name if number < _MAX_GROUPS else None
    if with_intervals:
        errors = {f"{axis}err": [getattr(one, axis).half_width or 0.0 for one in shown] for axis in "xy"}
        place.errorbar(x, y, **errors, **style, linestyle="", label=label, markersize=5, elinewidth=0.8, capsize=2)
    else:
        place.scatter(x, y, **style, label=label, s=9)


def _limits(shown: Sequence[Summary]) -> tuple[float | None, float | None]:
    """Return limits from 0 that show all means; of wide intervals they cut what would hide them."""
    most = max(one.mean for one in shown)
    if most <= 0 or any(one.mean < 0 for one in shown):
        return None, None
    return 0.0, 1.06 * min(max(one.mean + (one.half_width or 0.0) for one in shown), 1.6 * most)


def _finish(place: Any, shown: Sequence[Summary]) -> None:
    place.grid(visible=True, alpha=0.3)
    place.set_axisbelow(True)
    place.set_ylim(*_limits(shown))
    if len(place.get_legend_handles_labels()[1]) > 1:
        place.legend(fontsize=8)
