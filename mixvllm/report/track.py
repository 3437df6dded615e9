"""Tells a tracker of sweeps and runs: MLflow, or Weights & Biases. Told twice, it has everything once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.study import Study
from mixvllm.report.tracked import TrackedPoint, TrackedSource, tracked_sources

TrackerName = Literal["mlflow", "wandb"]
TRACKERS: tuple[TrackerName, ...] = ("mlflow", "wandb")


@dataclass(frozen=True)
class Target:
    """Where to.

    Args:
        project: the experiment, as MLflow calls it, or the project.
        uri: of the tracker; None = what its own environment variables say, or its own default.
    """

    project: str = "mixvllm"
    uri: str | None = None


class Tracker(Protocol):
    """A tracker that has been reached."""

    def begin(self, source: TrackedSource) -> None:
        """Take what is known of a sweep or run, and its files, as far as the tracker does not have it."""

    def log(self, source: TrackedSource, point: TrackedPoint) -> str:
        """Take a point as far as the tracker does not have it; return what was done, see `remaining`."""

    def close(self) -> None:
        """End what was begun."""


@dataclass
class Told:
    """What a tracker was told.

    Args:
        counts: of points by what was done with them, see `remaining`.
    """

    counts: dict[str, int] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The same in words."""
        names = {"new": "new", "more": "with more than before", "again": "measured anew", "nothing": "told before"}
        parts = [f"{self.counts[done]} {words}" for done, words in names.items() if self.counts.get(done)]
        return f"{sum(self.counts.values())} points: {', '.join(parts)}" if parts else "no points"


def track(study: Study, name: TrackerName, target: Target, say: Callable[[str], None]) -> Told:
    """Tell the tracker `name` of all points of `study` that have ended, and return what was new to it.

    Args:
        study: to tell of.
        name: which tracker.
        target: where to.
        say: told how far it is, now and then.

    Raises:
        ConfigError: the tracker is not installed.
        TrackerFailed: it did not take them; those that it has taken it keeps, and the next call goes on.
    """
    sources = tracked_sources(study)
    num_points = sum(len(source.points) for source in sources)
    told, done = Told(), 0
    tracker = open_tracker(name, target)
    try:
        for source in sources:
            tracker.begin(source)
            for point in source.points:
                what = tracker.log(source, point)
                told.counts[what] = told.counts.get(what, 0) + 1
                done += 1
                if done % 500 == 0:
                    say(f"{done}/{num_points} points")
    finally:
        tracker.close()
    return told


def open_tracker(name: TrackerName, target: Target) -> Tracker:
    """Return the tracker `name`.

    Raises:
        ConfigError: it is not installed.
        TrackerFailed: it cannot be reached.
    """
    if name == "mlflow":
        from mixvllm.report.track_mlflow import MlflowTracker  # noqa: PLC0415 - an extra

        return MlflowTracker(target.project, target.uri)
    from mixvllm.report.track_wandb import WandbTracker  # noqa: PLC0415 - an extra

    return WandbTracker(target.project, target.uri)


def trackers(names: Sequence[str]) -> list[TrackerName]:
    """Return those of `names` that are trackers, each once, in order.

    Raises:
        ConfigError: one is not.
    """
    known = {str(name): name for name in TRACKERS}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        wrong = ", ".join(unknown) or None
        raise ConfigError([Fault("--to", f"must be one of {', '.join(TRACKERS)}", wrong)])
    return [known[name] for name in dict.fromkeys(names)]
