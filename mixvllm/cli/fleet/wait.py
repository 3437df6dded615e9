"""Waits for a run to be ready, or to have ended."""

from __future__ import annotations

import math
import time
from typing import Literal

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.fleet.words import end_of, say, state_words
from mixvllm.cli.terminal import remark
from mixvllm.cluster.fleet import Fleet
from mixvllm.cluster.submitted import LOOK_S, SubmittedState
from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import DONE, RunState

_TICK_S = 0.1

Goal = Literal["ready", "stopped"]


def wait_for(run: str, goal: Goal = "ready", timeout_s: float | None = None) -> int:
    """Return 0 when `run` is what it is waited for, at once where it is that already; 1 where it failed, or is late.

    Args:
        run: what `Fleet.find_run` takes; what was submitted is ready when a server of it is.
        goal: `ready`, or `stopped`: ended by a stop rather than by a failure, or with all that was submitted done.
        timeout_s: seconds; None = for ever.
    """
    fleet = Fleet()
    folder = fleet.find_run(run).folder
    state = _wait(fleet, folder, goal, math.inf if timeout_s is None else timeout_s)
    if _is_reached(state, goal):
        url = state.text("url")
        say(f"{state.name} is ready" + (f": {url}/v1" if url else "") if goal == "ready" else end_of(state))
        return EXIT_OK
    if state.has_ended:
        remark(f"error: {end_of(state)}")
    else:
        remark(f"error: {state.name} is not {goal} after {timeout_s:g} s: it is {state_words(state)}")
        remark(f"  next: mixvllm logs {state.name} -f shows what it does")
    return EXIT_FAILED


def _wait(fleet: Fleet, folder: RunFolder, goal: Goal, timeout_s: float) -> RunState:
    deadline = time.monotonic() + timeout_s
    while True:
        state = fleet.look_at(folder)
        if goal == "ready" and isinstance(state, SubmittedState) and not state.has_ended:
            state = next((run for run in fleet.runs_of(state) if run.state == "ready"), state)
        if _is_reached(state, goal) or state.has_ended or time.monotonic() >= deadline:
            return state
        time.sleep(LOOK_S if isinstance(state, SubmittedState) else _TICK_S)


def _is_reached(state: RunState, goal: Goal) -> bool:
    return state.state == goal or (goal == "stopped" and state.state == DONE)
