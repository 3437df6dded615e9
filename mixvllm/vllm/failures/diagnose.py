"""From a log and an exit status to one diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank
from mixvllm.vllm.failures.diagnosis import UNCLASSIFIED, Diagnosis
from mixvllm.vllm.failures.evidence import Evidence, best, collect, first_unknown
from mixvllm.vllm.failures.exits import words_of_exit
from mixvllm.vllm.failures.log_lines import LogLine, read_lines
from mixvllm.vllm.failures.remedies import is_set_already
from mixvllm.vllm.failures.stalls import find_stall

_CONTEXT_LINES = 20
_SHOWN_CHARS = 400
_CAPTURED_CHARS = 160
_READ_IT = "Read the end of the log; server.env.VLLM_LOGGING_LEVEL=DEBUG has the next start say more."


def diagnose(log: Path, *, exit_status: int | None, config: ServeConfig | None = None, start: int = 0) -> Diagnosis:
    """Return why the server that wrote `log` failed; `unclassified` where that is not known.

    The cause is the sign that says most, of the engine or its workers rather than of the process that answers HTTP,
    and the earliest of those. An error that is not known comes before the mere death of a process.

    Args:
        log: what the server printed; a file that is not there reads as an empty one.
        exit_status: of the server's first process, negative for a signal; None while it lives.
        config: what it was to run; makes causes and overrides more exact.
        start: byte offset in the file at which this server's output begins.
    """
    lines = read_lines(log, start)
    evidence = collect(lines)
    if (known := best(evidence, Rank.GENERAL)) is not None:
        return _known(known, lines, config)
    if (unknown := first_unknown(evidence)) is not None:
        return _unknown_error(unknown.line, lines)
    if (death := best(evidence, Rank.DEATH if exit_status is not None else Rank.REQUEST)) is not None:
        return _known(death, lines, config)
    return _from_exit(lines, exit_status) or _from_stall(lines, exit_status) or _unclassified(lines, exit_status)


def _known(found: Evidence, lines: Sequence[LogLine], config: ServeConfig | None) -> Diagnosis:
    failure = found.failure
    if failure is None:
        raise ValueError("evidence of no known failure")
    values = {"model": config.model.name if config else "the model", **found.captured}
    shown = {name: _clipped(value, _CAPTURED_CHARS) for name, value in values.items()}
    return Diagnosis(
        id=failure.id,
        kind=failure.kind,
        cause=failure.cause.format_map(shown),
        fix=failure.fix.format_map(shown),
        override=_override(failure, found.captured, config),
        line=_clipped(found.line.shown, _SHOWN_CHARS),
        line_number=found.line.number,
        context=_around(found.line, lines),
    )


def _override(failure: Failure, captured: Mapping[str, str], config: ServeConfig | None) -> str | None:
    """Return the override that mends it; None where there is none, or where it was set already and did not."""
    wanted = failure.override
    override = wanted.format_map(captured) if isinstance(wanted, str) else wanted and wanted(captured, config)
    return None if override is None or (config and is_set_already(override, config)) else override


def _from_exit(lines: Sequence[LogLine], exit_status: int | None) -> Diagnosis | None:
    words = words_of_exit(exit_status)
    if words is None:
        return None
    name, kind, cause, fix = words
    return Diagnosis(name, kind, cause, fix, None, None, None, _last(lines))


def _from_stall(lines: Sequence[LogLine], exit_status: int | None) -> Diagnosis | None:
    found = find_stall(lines) if exit_status is None else None
    if found is None:
        return None
    stall, line = found
    shown = _clipped(line.shown, _SHOWN_CHARS)
    return Diagnosis(stall.id, stall.kind, stall.cause, stall.fix, stall.override, shown, line.number, _last(lines))


def _unknown_error(line: LogLine, lines: Sequence[LogLine]) -> Diagnosis:
    cause = "This is not a failure that is known; the line shows the first error of the log."
    shown = _clipped(line.shown, _SHOWN_CHARS)
    return Diagnosis(UNCLASSIFIED, "unknown", cause, _READ_IT, None, shown, line.number, _last(lines))


def _unclassified(lines: Sequence[LogLine], exit_status: int | None) -> Diagnosis:
    how = "it lives" if exit_status is None else f"it ended with exit status {exit_status}"
    cause = f"The log shows no failure that is known, and no error; {how}."
    return Diagnosis(UNCLASSIFIED, "unknown", cause, _READ_IT, None, None, None, _last(lines))


def _around(line: LogLine, lines: Sequence[LogLine]) -> tuple[str, ...]:
    """Return the lines of the log around one, most of them before it."""
    index = lines.index(line)
    begin = max(0, index - _CONTEXT_LINES * 3 // 4)
    return tuple(_clipped(near.shown, _SHOWN_CHARS) for near in lines[begin : begin + _CONTEXT_LINES])


def _last(lines: Sequence[LogLine]) -> tuple[str, ...]:
    """Return the last lines of the log that hold any text."""
    shown = [_clipped(line.shown, _SHOWN_CHARS) for line in lines[-10 * _CONTEXT_LINES :] if line.shown.strip()]
    return tuple(shown[-_CONTEXT_LINES:])


def _clipped(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"
