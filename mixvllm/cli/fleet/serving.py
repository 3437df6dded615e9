"""Which servers are meant: of runs, and of what was submitted, on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mixvllm.cli.fleet.words import end_of, state_words
from mixvllm.cluster.fleet import Fleet
from mixvllm.cluster.submitted import SubmittedState
from mixvllm.errors import MixvllmError
from mixvllm.server.fleet import RunState


class NoServer(MixvllmError):
    """What was submitted has no server now."""


def servers_of(names: Sequence[str]) -> list[Path]:
    """Return the folders of the runs that `names` mean; of all that live where there are no names.

    Their files tell all that there is to know, also of those on other machines.

    Raises:
        RunNotFound: a name means nothing, or several.
        NoServer: one is of jobs that have no server now.
    """
    fleet = Fleet()
    if not names:
        living = (run for run in fleet.look_at_all() if not run.has_ended and not isinstance(run, SubmittedState))
        return [run.folder.path for run in living]
    return list(dict.fromkeys(run.folder.path for name in names for run in _runs(fleet, fleet.find_run(name))))


def _runs(fleet: Fleet, state: RunState) -> Iterator[RunState]:
    if not isinstance(state, SubmittedState):
        yield state
        return
    living = [run for run in fleet.runs_of(state) if not run.has_ended]
    if not living:
        words = end_of(state) if state.has_ended else f"{state.name} has no server yet: it is {state_words(state)}"
        raise NoServer(f"{words}\n  next: mixvllm logs {state.name}")
    yield from living
