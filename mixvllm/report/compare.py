"""Two studies side by side: their points by two, what changed, and what else is not the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.compare_change import Change, change_of
from mixvllm.report.compare_limits import Limit, check_metrics
from mixvllm.report.compare_metrics import common
from mixvllm.report.compare_pairs import Pairing, SideKey, pair_points
from mixvllm.report.study import Study, StudyPoint

_OF_LOAD = ("_len", "dataset_path", "dataset_name", "random_range_ratio", "hf_subset", "hf_split", "hf_name")
_OF_WORK = ("workload.kind", "workload.command", "workload.guidellm", "workload.lm_eval", "workload.goodput")
"""Keys that say which work is measured: where they differ, numbers do not compare."""
_MAX_INPUT_RATIO = 1.05
_MAX_SERVERS = 16  # whose hardware is looked up


@dataclass(frozen=True)
class Pair:
    """Two points that ask for the same, and the changes of their metrics, which are found out as they are asked for.

    Args:
        a: of the first side.
        b: of the second.
    """

    a: StudyPoint
    b: StudyPoint
    _changes: dict[str, Change | None] = field(default_factory=dict, repr=False)

    def change(self, metric: str) -> Change | None:
        """Return how `metric` changed; None where a side has no good repeat with it."""
        if metric not in self._changes:
            self._changes[metric] = change_of(self.a, self.b, metric)
        return self._changes[metric]


@dataclass(frozen=True)
class Overall:
    """One metric over all pairs.

    Args:
        num: pairs that have it.
        verdicts: how many pairs have which verdict.
        percent: change of the geometric mean of b / a; None where a value is not above 0.
    """

    num: int
    verdicts: Mapping[str, int]
    percent: float | None


@dataclass(frozen=True)
class Breach:
    """A condition that is met.

    Args:
        limit: the condition.
        pair: where.
        change: that meets it; None where B has no numbers of a point that A has numbers of.
    """

    limit: Limit
    pair: Pair
    change: Change | None


@dataclass(frozen=True)
class Comparison:
    """What there is to say of A and B.

    Args:
        a: the first side.
        b: the second.
        pairs: points that ask for the same.
        keys: that the pairs differ in from each other.
        side_keys: that differ between the sides as a whole.
        only_a: points of A without one in B.
        only_b: points of B without one in A.
        metrics: that both sides have, sorted.
        environment: what else differs, by name: its values on both sides, in words.
        remarks: what there is to know before the numbers are used.
    """

    a: Study
    b: Study
    pairs: tuple[Pair, ...]
    keys: tuple[str, ...]
    side_keys: tuple[SideKey, ...]
    only_a: tuple[StudyPoint, ...]
    only_b: tuple[StudyPoint, ...]
    metrics: tuple[str, ...]
    environment: Mapping[str, tuple[str, str]]
    remarks: tuple[str, ...]

    def overall(self, metric: str) -> Overall:
        """Return what `metric` does over all pairs."""
        changes = [change for pair in self.pairs if (change := pair.change(metric)) is not None]
        ratios = [change.b / change.a for change in changes if change.a > 0 and change.b > 0]
        percent = None
        if ratios and len(ratios) == len(changes):
            percent = 100 * (math.exp(math.fsum(map(math.log, ratios)) / len(ratios)) - 1)
        return Overall(len(changes), Counter(change.verdict for change in changes), percent)

    def breaches(self, limits: Iterable[Limit]) -> Iterator[Breach]:
        """Yield where `limits` are met: also where B has no good repeat of what A has one of."""
        for limit in limits:
            for pair in self.pairs:
                change = pair.change(limit.metric)
                lost = change is None and bool(pair.a.values(limit.metric))
                if lost or (change is not None and limit.is_met(change)):
                    yield Breach(limit, pair, change)


def compare(
    a: Study, b: Study, *, asked: Sequence[str] = (), limits: Sequence[Limit] = (), force: bool = False
) -> Comparison:
    """Return the comparison of `a` and `b`.

    Args:
        a: the first side, what was before.
        b: the second side.
        asked: metrics that must be there.
        limits: whose metrics must be there.
        force: compare also other workloads, and a CPU with a GPU.

    Raises:
        ConfigError: they cannot be compared; the message says why.
    """
    for name, study in (("A", a), ("B", b)):
        if not any(point.good for point in study.points):
            where = ", ".join(str(source.path) for source in study.sources)
            raise ConfigError([Fault("", f"{name} has no good repeat to compare: {where}\n  next: {_why_none(study)}")])
    pairing = pair_points(a.points, b.points)
    if not force:
        _check_work(pairing)
        _check_devices(pairing)
    metrics = common(a.metrics, b.metrics)
    if not metrics:
        raise ConfigError([Fault("", f"no metric is in both: A has {_some(a.metrics)}, B has {_some(b.metrics)}")])
    check_metrics("--metric", asked, metrics)
    check_metrics("--fail-on", [limit.metric for limit in limits], metrics)
    return Comparison(
        a,
        b,
        tuple(Pair(*pair) for pair in pairing.pairs),
        pairing.keys,
        pairing.side_keys,
        pairing.only_a,
        pairing.only_b,
        metrics,
        _environment(a, b),
        tuple(_remarks(a, b, pairing)),
    )


def _check_work(pairing: Pairing) -> None:
    faults = [
        Fault(
            key.key, f"{_some(key.a)} in A, {_some(key.b)} in B: other work, whose numbers do not compare; --force does"
        )
        for key in pairing.side_keys
        if key.key in _OF_WORK or (key.key.startswith("workload.") and key.key.endswith(_OF_LOAD))
    ]
    if faults:
        raise ConfigError(faults)
    for a, b in pairing.pairs:
        tokens = _input_tokens(a), _input_tokens(b)
        if a.model == b.model and all(tokens) and max(tokens) > _MAX_INPUT_RATIO * min(tokens):
            lengths = f"{tokens[0]:.0f} and {tokens[1]:.0f} input tokens a request"
            words = (
                f"points {a.name} and {b.name} had {lengths}: other work, whose numbers do not compare; --force does"
            )
            raise ConfigError([Fault("", words)])


def _input_tokens(point: StudyPoint) -> float:
    """Return the mean input tokens of a request; 0 where they are not known."""
    total, num = point.summary("total_input_tokens"), point.summary("num_completed")
    return total.mean / num.mean if total and num and num.mean else 0.0


def _check_devices(pairing: Pairing) -> None:
    for a, b in pairing.pairs:
        if None not in (a.num_gpus, b.num_gpus) and (a.num_gpus == 0) is not (b.num_gpus == 0):
            on = [f"{point.name} ran on {'a CPU' if point.num_gpus == 0 else 'GPUs'}" for point in (a, b)]
            raise ConfigError([Fault("", f"{' and '.join(on)}: --force compares them all the same")])


def _why_none(study: Study) -> str:
    reasons = Counter(f"{point.verdict}: {point.reason}" for point in study.points)
    return f"{len(study.points)} points, e.g. {reasons.most_common(1)[0][0]}" if reasons else "it has no points"


def _environment(a: Study, b: Study) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    looks: dict[str, Callable[[Study], Iterable[Any]]] = {
        **{f"version of {name}": _version(name) for name in _distributions(a, b)},
        "git commit": lambda study: (_commit(source.git) for source in study.sources),
        "GPUs": lambda study: (point.num_gpus for point in study.points),
        "GPU": _hardware,
        "host": lambda study: (point.host for point in study.points),
    }
    for name, look in looks.items():
        values = [sorted({str(value) for value in look(study) if value not in (None, "")}) for study in (a, b)]
        if values[0] != values[1]:
            found[name] = (_some(values[0]) or "not known", _some(values[1]) or "not known")
    return found


def _distributions(a: Study, b: Study) -> list[str]:
    return sorted({name for study in (a, b) for versions in _versions(study) for name in versions})


def _versions(study: Study) -> Iterator[Mapping[str, str]]:
    yield from (source.versions for source in study.sources)
    seen = {id(point.versions): point.versions for point in study.points}
    yield from seen.values()
    yield from (repeat.versions for point in study.points for repeat in point.repeats)


def _version(name: str) -> Callable[[Study], Iterable[Any]]:
    return lambda study: (versions.get(name) for versions in _versions(study))


def _commit(git: Mapping[str, Any]) -> str:
    commit = str(git.get("commit") or "")[:12]
    return f"{commit} with changes" if commit and git.get("diff") else commit


def _hardware(study: Study) -> Iterator[str | None]:
    return (server.hardware for server in study.servers[:_MAX_SERVERS])


def _remarks(a: Study, b: Study, pairing: Pairing) -> Iterator[str]:
    yield from (f"{name}: {remark}" for name, study in (("A", a), ("B", b)) for remark in study.remarks)
    for name, only in (("A", pairing.only_a), ("B", pairing.only_b)):
        if only:
            num = f"{len(only)} points are" if len(only) > 1 else "1 point is"
            yield f"{num} in {name} alone: {_some([point.name for point in only])}"
    if pairing.not_recorded:
        yield f"recorded on one side alone, so perhaps not the same: {_some(pairing.not_recorded)}"
    for one, other in pairing.pairs:
        for name, point in (("A", one), ("B", other)):
            if point.reason:
                yield f"{name}, {point.name}: {point.verdict}, {point.reason}"
    if any(_is_single(one, other) for one, other in pairing.pairs):
        yield "points with a single good repeat on a side have no interval: whether they differ cannot be told"


def _is_single(a: StudyPoint, b: StudyPoint) -> bool:
    """Whether both have good repeats, and one of them a single one."""
    return min(a.num_ok, b.num_ok) == 1


def _some(values: Iterable[Any], num: int = 3) -> str:
    shown = [str(value) for value in values]
    rest = f" and {len(shown) - num} more" if len(shown) > num else ""
    return f"{', '.join(shown[:num])}{rest}"
