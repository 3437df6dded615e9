"""Stops runs."""

from __future__ import annotations

from collections.abc import Sequence

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.fleet.words import end_of, remark, say, state_words
from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.registry import LAST
from mixvllm.server.fleet import LOST, RunState, find_run, look_at_all
from mixvllm.server.processes import describe
from mixvllm.server.stopping import living, stop_runs


def stop(
    runs: Sequence[str], *, everything: bool = False, timeout_s: float | None = None, is_forced: bool = False
) -> int:
    """Stop `runs` and say how each has ended; return 1 where something is left.

    Args:
        runs: what `resolve_run` takes; none = the last one.
        everything: every run of this machine instead.
        timeout_s: seconds to wait; None = as long as it takes.
        is_forced: whether requests in flight are given up.

    Raises:
        RunNotFound: one of `runs` means none, or several.
        NotStoppable: one cannot be stopped from here; nothing was done.
    """
    if runs and everything:
        raise ConfigError([Fault("--all", "means every run; name runs, or give --all")])
    states = _all_here() if everything else _named(runs or [LAST])
    if not states:
        say("no run is left to stop")
        return EXIT_OK
    for state in states:
        remark(_beginning(state, is_forced=is_forced))
    ends = stop_runs([state.folder for state in states], timeout_s=timeout_s, is_forced=is_forced)
    num_left = sum(map(_is_left, ends))
    return EXIT_FAILED if num_left else EXIT_OK


def _beginning(state: RunState, *, is_forced: bool) -> str:
    if state.state == LOST or (state.has_ended and living(state)):
        return f"ending what is left of {state.name}: {state.cause}"
    if state.has_ended:
        return f"{state.name} has ended already"
    return f"stopping {state.name}" + ("" if is_forced else "; requests in flight finish first")


def _named(runs: Sequence[str]) -> list[RunState]:
    states = [find_run(run) for run in runs]
    return list({state.folder: state for state in states}.values())


def _all_here() -> list[RunState]:
    states = [state for state in look_at_all() if not state.has_ended or state.state == LOST or living(state)]
    for state in states:
        if state.is_remote:
            remark(f"{state.name} runs on {state.host} and goes on: ssh {state.host} mixvllm stop {state.name}")
    return [state for state in states if not state.is_remote]


def _is_left(state: RunState) -> bool:
    """Say how a run has ended; return whether it has not, or something of it is left."""
    left = living(state)
    if state.has_ended and not left:
        say(end_of(state))
        return False
    what = "has ended" if state.has_ended else f"is still {state_words(state)}"
    remark(f"error: {state.name} {what}" + (f"; alive: {describe(left)}" if left else "") + _advice(state))
    return True


def _advice(state: RunState) -> str:
    if state.supervisor is None or state.has_ended:
        return "\n  next: mixvllm doctor --end"
    last = f"where its launcher does not react: kill -9 {state.supervisor.pid}, and its guardian ends the server"
    return f"\n  next: mixvllm stop {state.name} --now; {last}"
