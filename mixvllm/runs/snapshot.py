"""A run at one moment, from the files of its folder alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED
from mixvllm.runs.records import UNREADABLE, moment_of, read_json
from mixvllm.runs.samples import last_samples

_SAMPLED_STATES = ("ready", "hung")
_USUAL_PERIOD_S = 5.0
_LATE_PERIODS = 3.0
_LATE_S = 10.0  # what a machine under load may add to a period


@dataclass(frozen=True)
class Snapshot:
    """What a run's records say.

    Args:
        folder: of the run.
        status: the content of `status.json`; empty where it cannot be read.
        samples: of the server that runs now, oldest first, shape (n,).
        now: when they were read, UTC.
    """

    folder: RunFolder
    status: dict[str, Any]
    samples: Sequence[dict[str, Any]]
    now: datetime

    @property
    def run(self) -> str:
        """What the run is called."""
        return str(self.status.get("run") or self.folder.name)

    @property
    def model(self) -> str:
        """The name that clients ask for."""
        return str(self.status.get("model") or "")

    @property
    def state(self) -> str:
        """As recorded: `starting`, `ready`, `draining`, `hung`, `stopped`, `failed`; or `UNREADABLE`."""
        return str(self.status.get("state") or UNREADABLE)

    @property
    def attempt(self) -> int:
        """Which start of the server this is, from 1."""
        attempt = self.status.get("attempt")
        return attempt if isinstance(attempt, int) else 1

    @property
    def is_ended(self) -> bool:
        """Whether nothing follows any more."""
        return self.state in ENDED

    @property
    def sample(self) -> dict[str, Any] | None:
        """The newest sample, where it tells of now; None where it is too old, or the run has ended."""
        if self.is_ended or not self.samples:
            return None
        age_s = _seconds(self.samples[-1].get("time"), self.now)
        return self.samples[-1] if age_s is not None and age_s <= self._limit_s else None

    @property
    def is_stale(self) -> bool:
        """Whether samples should come and do not: the launcher is gone, or cannot write."""
        ready_s = _seconds(self.status.get("ready_at"), self.now)
        is_due = ready_s is None or ready_s > self._limit_s
        return self.state in _SAMPLED_STATES and self.sample is None and is_due

    @property
    def is_up(self) -> bool:
        """Whether the server serves: it is ready, and answered lately."""
        return self.state == "ready" and self.sample is not None and self.sample.get("answers") is True

    @property
    def uptime_s(self) -> float | None:
        """Seconds since the server became ready, until now; None where it does not run, or is not ready yet."""
        return None if self.is_ended else _seconds(self.status.get("ready_at"), self.now)

    @property
    def in_state_s(self) -> float | None:
        """Seconds since the state began."""
        return _seconds(self.status.get("since"), self.now)

    def number(self, part: str, name: str) -> float | None:
        """Return a number of a part of the sample, e.g. of `engine`; None where it is not told."""
        value = (self.sample or {}).get(part)
        return number_in(value, name) if isinstance(value, dict) else None

    def gpus(self) -> list[dict[str, Any]]:
        """Return what the sample tells of each GPU, shape (n,)."""
        value = (self.sample or {}).get("gpus")
        return [gpu for gpu in value if isinstance(gpu, dict)] if isinstance(value, list) else []

    @property
    def _limit_s(self) -> float:
        period_s = number_in(self.samples[-1], "period_s") if self.samples else None
        return _LATE_PERIODS * (period_s or _USUAL_PERIOD_S) + _LATE_S


def read_snapshot(folder: RunFolder, num_samples: int = 1, now: datetime | None = None) -> Snapshot:
    """Return the run of `folder` as it is recorded, with its newest samples. Reads little, whatever their number."""
    status = read_json(folder.status) or {}
    began_at = moment_of(status.get("attempt_began_at"))
    samples = [sample for sample in last_samples(folder, num_samples) if _is_since(began_at, sample)]
    return Snapshot(folder, status, samples, now or datetime.now(UTC))


def number_in(record: Mapping[str, Any], name: str) -> float | None:
    """Return the number that `record` has under `name`; None where it has none."""
    value = record.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _is_since(began_at: datetime | None, sample: dict[str, Any]) -> bool:
    """Whether `sample` is of the server that began at `began_at`; the file also holds those before it."""
    taken_at = moment_of(sample.get("time"))
    return taken_at is not None and (began_at is None or taken_at >= began_at)


def _seconds(text: object, now: datetime) -> float | None:
    moment = moment_of(text)
    return None if moment is None else max(0.0, (now - moment).total_seconds())
