"""Studies made by hand, for tests of what is done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixvllm.report.study import Repeat, Source, Study, StudyPoint

METRICS = ("output_tokens_per_s", "p99_ttft_ms")


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as sections."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections


def repeats(values: Mapping[str, Sequence[float]], seeds: Sequence[int] | None = None) -> tuple[Repeat, ...]:
    """Return good repeats with the values of each metric, shape (num_repeats,) each."""
    num = len(next(iter(values.values())))
    return tuple(
        Repeat(
            at + 1,
            "ok",
            seed=None if seeds is None else seeds[at],
            metrics={metric: of_metric[at] for metric, of_metric in values.items()},
            duration_s=1.0,
            began_at=f"2026-11-22T10:00:{at:02}.000+00:00",
        )
        for at in range(num)
    )


def study(
    name: str,
    points: Sequence[tuple[Mapping[str, Any], tuple[Repeat, ...]]],
    *,
    num_gpus: int | None = 1,
    folder: Path = Path("/sweeps"),
) -> Study:
    """Return a study of points: what each asks for by dotted key, and its repeats; one without any has failed.

    Its folder, which need not be there, is in `folder`.
    """
    keys = dict.fromkeys(key for asked, _ in points for key in asked)
    swept = tuple(key for key in keys if len({str(asked.get(key)) for asked, _ in points}) > 1)
    source = Source(folder / name, name, True, "sweep", swept=swept)
    made = [
        StudyPoint(
            source,
            index,
            labels={key: asked[key] for key in swept if key in asked},
            config=nested(asked),
            verdict="ok" if measured else "failed",
            reason=None if measured else "1 of 1 failed: out of memory",
            repeats=measured,
            num_repeats=len(measured),
            num_gpus=num_gpus,
            content_hash=f"{index:016x}",
        )
        for index, (asked, measured) in enumerate(points)
    ]
    return Study(tuple(made), (source,))
