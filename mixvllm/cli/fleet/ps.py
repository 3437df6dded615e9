"""Lists runs."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.fleet.load import Load, load_of
from mixvllm.cli.fleet.words import Column, coloured, duration, say, state_words, table, width_of
from mixvllm.cli.terminal import remark
from mixvllm.cluster.fleet import Fleet, job_id_of
from mixvllm.cluster.submitted import SubmittedState
from mixvllm.server.fleet import UNKNOWN, RunState

_SHOWN_FOR_S = 24 * 3600.0
"""Since its end: for this long a run is in the list unasked."""

_COLUMNS = (
    Column("RUN"),
    Column("STATE"),
    Column("MODEL", is_cut=True),
    Column("URL", rank=1),
    Column("UP", rank=3, is_number=True),
    Column("GPU", rank=5),
    Column("REQS", rank=2, is_number=True),  # running/waiting
    Column("TOK/S", rank=4, is_number=True),
    Column("ERR", rank=6, is_number=True),
    Column("AGE", rank=7, is_number=True),
)


def show_runs(*, everything: bool = False, as_json: bool = False) -> int:
    """Print a line for each run, newest first: those that live, and those that ended within a day.

    Args:
        everything: whether to list all that have ended, too.
        as_json: print a list of objects, one for each run.
    """
    known = Fleet().look_at_all()
    states = [state for state in known if everything or _is_recent(state)]
    if as_json:
        say(json.dumps([_record(state, load_of(state)) for state in states], indent=2, ensure_ascii=False))
    elif states:
        _print(states)
    else:
        say("no run lives" if known else "there is no run yet")
        remark(
            "  next: mixvllm launch model=demo starts one" + ("; mixvllm ps --all lists earlier ones" if known else "")
        )
    return EXIT_OK


def _print(states: list[RunState]) -> None:
    rows = [_row(state, load_of(state)) for state in states]
    heading, *lines = table(_COLUMNS, rows, width_of(sys.stdout))
    unknown = dict.fromkeys(state.cause for state in states if state.state == UNKNOWN and state.cause)
    shown = (coloured(line, state.state, sys.stdout) for line, state in zip(lines, states, strict=True))
    say("\n".join([heading, *shown]))
    for cause in unknown:
        remark(f"unknown: {cause}")


def _row(state: RunState, load: Load) -> list[str]:
    counts = (load.num_requests_running, load.num_requests_waiting)
    speed, errors = load.generation_tokens_per_s, load.num_errors
    return [
        state.name,
        _state(state),
        state.text("model") or "-",
        _url(state),
        _seconds(up_s(state)),
        "-" if load.gpus is None else ",".join(map(str, load.gpus)) or "none",
        "-" if counts == (None, None) else "/".join("?" if count is None else str(count) for count in counts),
        "-" if speed is None else f"{speed:.0f}",
        "-" if errors is None else str(errors),
        _seconds(_since(state.moment("began_at"))),
    ]


def _state(state: RunState) -> str:
    """Return the state of a run, and what is remarkable about it."""
    orphans = f"{state.num_orphans} orphan{'' if state.num_orphans == 1 else 's'}" if state.num_orphans else None
    job_id = None if state.has_ended else job_id_of(state)
    where = f"on {state.host}" if state.is_remote or job_id else None
    where = f"job {job_id} {where}" if job_id else where
    return ", ".join(filter(None, (state_words(state), orphans, where)))


def _url(state: RunState) -> str:
    url = None if state.has_ended else state.text("url")
    return url or "-"


def up_s(state: RunState) -> float | None:
    """Return for how many seconds the run's server has been serving; None where it does not."""
    return None if state.has_ended or state.state == "starting" else _since(state.moment("ready_at"))


def _since(moment: datetime | None) -> float | None:
    return None if moment is None else max(time.time() - moment.timestamp(), 0.0)


def _seconds(value: float | None) -> str:
    return "-" if value is None else duration(value)


def _is_recent(state: RunState) -> bool:
    if state.ended_at is None or state.num_orphans:
        return True
    return (datetime.now(UTC) - state.ended_at).total_seconds() < _SHOWN_FOR_S


def _record(state: RunState, load: Load) -> dict[str, Any]:
    taken = ("model", "url", "host", "attempt", "began_at", "ready_at", "since", "failure", "exit_code", "detached")
    up = up_s(state)
    return {
        "run": state.name,
        "folder": str(state.folder.path),
        "state": state.state,
        "phase": state.phase,
        "cause": state.cause,
        **{name: state.record.get(name) for name in taken},
        "is_remote": state.is_remote,
        "num_orphans": state.num_orphans,
        "job": state.record.get("job"),
        "jobs": [asdict(element) for element in state.elements] if isinstance(state, SubmittedState) else None,
        "up_s": None if up is None else round(up, 1),
        **asdict(load),
    }
