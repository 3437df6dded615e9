"""What was measured, whichever folders it is in: the points of sweeps and of single runs, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mixvllm.report.servers import ServerRun
from mixvllm.sweep.flat import leaves
from mixvllm.sweep.point import NOT_MEASURED
from mixvllm.sweep.results import MISSING
from mixvllm.sweep.statistics import Summary, summarize

_NOT_TOLD_APART = ("server.sample_period_s", "workload.repeats", "workload.timeout_s")
"""Keys that say nothing of what is measured, beside the sections `NOT_MEASURED`."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """One measurement of a point.

    Args:
        number: counted from 1.
        verdict: `ok`, `invalid` or `failed`.
        reason: why it is not ok.
        failure: the diagnosis of its server (`id`, `cause`, `remedy` …), where that is the cause; else empty.
        seed: of its requests.
        metrics: by the names that `results.csv` has; empty where it is not ok, whose numbers mean nothing.
        start_kind: how its server was started: `cold` or `warm`.
        start_ready_s: seconds from the start of its server until it was ready.
        duration_s: of the measurement, all in.
        began_at: ISO 8601.
        versions: of what measured and what served, by distribution.
        server_run: name of the run of its server.
        remarks: what is worth knowing, and no reason against it.
    """

    number: int
    verdict: str
    reason: str | None = None
    failure: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    start_kind: str | None = None
    start_ready_s: float | None = None
    duration_s: float | None = None
    began_at: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    server_run: str | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyPoint:
    """One point, with all that is recorded of it.

    Args:
        source: where it was found; see `Source`.
        index: its number there, from 0.
        labels: the swept keys with their values; empty of a single run.
        config: resolved, by section; empty where it cannot be read.
        overrides: that it was composed of, shape (n,).
        verdict: of its best repeat: `ok`, `invalid`, `failed`, or `missing` where nothing was measured.
        reason: what there is to know before its numbers are used.
        repeats: that are recorded, by their number.
        num_repeats: that were planned.
        num_gpus: of its server, on all nodes; 0 on a CPU; None where it is not known.
        versions: of the launcher and of vLLM.
        content_hash: equal for points that ask for the same.
        server_key: equal for points that can share a server.
        servers: that were started for it, in order; those that measured it last.
        argv: of the server.
    """

    source: Source
    index: int
    labels: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    verdict: str = MISSING
    reason: str | None = None
    repeats: tuple[Repeat, ...] = ()
    num_repeats: int = 1
    num_gpus: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    content_hash: str = ""
    server_key: str = ""
    servers: tuple[ServerRun, ...] = ()
    argv: tuple[str, ...] = ()

    @property
    def study(self) -> str:
        """The name of the sweep, or of the run."""
        return self.source.name

    @property
    def name(self) -> str:
        """What it is called among all points: the study, and its number there."""
        return f"{self.study}#{self.index}" if self.source.is_sweep else self.study

    @property
    def good(self) -> tuple[Repeat, ...]:
        """The repeats that are ok."""
        return tuple(repeat for repeat in self.repeats if repeat.verdict == "ok")

    @property
    def num_ok(self) -> int:
        """How many repeats are ok."""
        return len(self.good)

    @property
    def server(self) -> ServerRun | None:
        """The server that measured it last, or was to."""
        return self.servers[-1] if self.servers else None

    @property
    def host(self) -> str | None:
        """Name of the machine that served."""
        return self.server.host if self.server else None

    @property
    def failure(self) -> Mapping[str, Any]:
        """The diagnosis of the last repeat that has one; empty where none has."""
        return next((repeat.failure for repeat in reversed(self.repeats) if repeat.failure), {})

    @property
    def model(self) -> str:
        """Name of its weights."""
        return str(self.value("model.name") or "")

    @property
    def command(self) -> list[str]:
        """The words that measure this point again, without what belongs to its sweep; none where they are not known."""
        others = ("sweep.", "hydra.", "hydra/", "output_dir=")
        own = [text for text in self.overrides if not text.lstrip("+~").startswith(others)]
        return [*self.source.program, *own] if self.overrides else []

    def values(self, metric: str) -> tuple[float, ...]:
        """Return the values of `metric` in all repeats that are ok and have it, shape (n,)."""
        return tuple(repeat.metrics[metric] for repeat in self.repeats if metric in repeat.metrics)

    def summary(self, metric: str) -> Summary | None:
        """Return mean and interval of `metric`; None where no good repeat has it."""
        values = self.values(metric)
        return summarize(values) if values else None

    def value(self, key: str) -> Any:
        """Return the swept value of `key`, else what its configuration has there, by dotted path; else None."""
        if key in self.labels:
            return self.labels[key]
        found: Any = self.config
        for name in key.removeprefix("+").removeprefix("+").split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    def flat_config(self) -> dict[str, Any]:
        """Return what its configuration says of the server and the measurement, by dotted key, down to what is no
        mapping."""
        kept = {name: value for name, value in self.config.items() if name not in NOT_MEASURED}
        return dict(leaves(kept))


@dataclass(frozen=True)
class Source:
    """A folder that points come from.

    Args:
        path: absolute.
        name: of the sweep, or of the run; unique in a study.
        is_sweep: else one run.
        kind: in words.
        swept: keys that vary.
        program: the words of the command that starts a point, without its overrides, shape (n,).
        argv: as typed, shape (n,).
        planned_at: ISO 8601.
        versions: of the launcher.
        git: of the sources: `commit`, and `diff` where they were changed; empty where it is not known.
        settings: the section `sweep`.
        is_imported: whether another program than mixvllm wrote it, which does not tell all that was asked for.
    """

    path: Path
    name: str
    is_sweep: bool
    kind: str
    swept: tuple[str, ...] = ()
    program: tuple[str, ...] = ("mixvllm", "launch")
    argv: tuple[str, ...] = ()
    planned_at: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_imported: bool = False


@dataclass(frozen=True)
class Study:
    """Points to look at together.

    Args:
        points: in the order of their sources.
        sources: in the order in which they were named.
        remarks: what could not be read, and what became of it.
    """

    points: tuple[StudyPoint, ...]
    sources: tuple[Source, ...]
    remarks: tuple[str, ...] = ()

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that a good repeat has, sorted."""
        return tuple(sorted({name for point in self.points for repeat in point.repeats for name in repeat.metrics}))

    @cached_property
    def swept(self) -> tuple[str, ...]:
        """Keys in which the points differ: the swept ones; of several folders, those of the configuration, too."""
        asked = dict.fromkeys(key for source in self.sources for key in source.swept)
        if len(self.sources) < 2:
            return tuple(asked)
        found = [key for key in varying_keys(self.points) if key not in asked]
        return (*(key for key in asked if len({str(point.value(key)) for point in self.points}) > 1), *found)

    @cached_property
    def servers(self) -> tuple[ServerRun, ...]:
        """All servers, each once, in the order of their points."""
        return tuple({server.path: server for point in self.points for server in point.servers}.values())


def varying_keys(points: Sequence[StudyPoint]) -> list[str]:
    """Return the dotted keys of the configuration that are not the same in all `points`, in the order of the schema."""
    sections = dict.fromkeys(name for point in points for name in point.config if name not in NOT_MEASURED)
    found: dict[str, None] = {}
    for section in sections:
        # Points share equal sections, so few of them are looked into.
        distinct = {id(point.config.get(section)): point.config.get(section) for point in points if point.config}
        flat = [dict(leaves(value, section)) for value in distinct.values()]
        for key in dict.fromkeys(key for one in flat for key in one):
            first = flat[0].get(key)
            if key not in _NOT_TOLD_APART and any(one.get(key) != first for one in flat[1:]):
                found[key] = None
    return list(found)
