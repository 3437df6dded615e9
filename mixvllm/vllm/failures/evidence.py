"""What in a log speaks for which failure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mixvllm.vllm.failures.catalogue import CATALOGUE
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, Sign
from mixvllm.vllm.failures.log_lines import LogLine, Where
from mixvllm.vllm.failures.moments import Moment, Moments
from mixvllm.vllm.failures.wrappers import is_error

_SIGNS: tuple[tuple[Sign, Failure], ...] = tuple((sign, failure) for failure in CATALOGUE for sign in failure.signs)
_FRONT_END = ("APIServer", "ApiServer")


class Evidence(NamedTuple):
    """A sign that was found, or an error that no entry of the catalogue knows.

    Args:
        line: that shows it.
        failure: that it is a sign of; None for an unknown error.
        rank: of the failure, at the moment of the line.
        captured: what the sign's pattern captured.
    """

    line: LogLine
    failure: Failure | None
    rank: Rank
    captured: Mapping[str, str]


def collect(lines: Iterable[LogLine]) -> list[Evidence]:
    """Return the evidence in the order of the lines, shape (n,).

    What was printed before the server served did not keep it from serving, and what is printed once it was told to
    stop follows from that: neither counts.
    """
    moments, found, was_serving = Moments(), list[Evidence](), False
    last_of: dict[str, Where] = {}
    for line in lines:
        moment = moments.read(line)
        if moment == "serving" and not was_serving:
            found.clear()
        was_serving = moment == "serving"
        if line.where != "information" and moment != "stopping":
            found.extend(_of_line(line, moment, ends_traceback=last_of.get(line.pid) == "source"))
        last_of[line.pid] = line.where
    return found


def best(evidence: Iterable[Evidence], max_rank: Rank) -> Evidence | None:
    """Return the known failure that says most, of the engine before the front end, the earliest; None without any."""
    known = [found for found in evidence if found.failure is not None and found.rank <= max_rank]
    return min(known, key=lambda found: (found.rank, not found.line.is_of_engine, found.line.number), default=None)


def first_unknown(evidence: Iterable[Evidence]) -> Evidence | None:
    """Return the first error that no entry knows, of the engine before the front end; None without any."""
    unknown = [found for found in evidence if found.failure is None and found.rank < Rank.REQUEST]
    return min(unknown, key=lambda found: (not found.line.is_of_engine, found.line.number), default=None)


def _of_line(line: LogLine, moment: Moment, *, ends_traceback: bool) -> Iterator[Evidence]:
    is_known = False
    for sign, failure in _SIGNS:
        if sign.core not in line.text or sign.where != line.where:
            continue
        match = sign.pattern.search(line.text)
        if match and (not sign.moments or moment in sign.moments):
            is_known = True
            yield Evidence(line, failure, _rank(failure, line, moment), match.groupdict(default=""))
    if not is_known and line.where == "message" and is_error(line.text, ends_traceback=ends_traceback):
        is_request = moment == "serving" and not line.is_of_engine
        yield Evidence(line, None, Rank.REQUEST if is_request else Rank.GENERAL, {})


def _rank(failure: Failure, line: LogLine, moment: Moment) -> Rank:
    """Return the rank of a failure; what a serving server's front end reports is one request's, but for a death."""
    is_request = moment == "serving" and line.process.startswith(_FRONT_END) and failure.rank < Rank.DEATH
    return Rank.REQUEST if is_request else failure.rank
