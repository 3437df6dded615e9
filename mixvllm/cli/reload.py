"""Asks a running server to become what its files and further overrides say now."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from typing import Any

from mixvllm.cli.exits import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from mixvllm.cluster.fleet import Fleet, job_id_of
from mixvllm.cluster.submitted import SubmittedState
from mixvllm.errors import MixvllmError
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import read_json
from mixvllm.server.fleet import look_at

_TICK_S = 0.1
_EXIT_CODES = {"unchanged": EXIT_OK, "done": EXIT_OK, "refused": EXIT_CONFIG, "rolled_back": EXIT_FAILED}


class ReloadFailed(MixvllmError):
    """The run could not be asked, or ended before it answered."""


def reload_run(run: str, overrides: Sequence[str]) -> int:
    """Ask `run` to reload, show what comes of it, and return 0 where it serves what was asked for.

    1: the new server did not become ready, and the old one serves again. 2: the configuration was refused, and the
    server goes on as it is.

    Raises:
        ReloadFailed: the run serves nothing that could be changed.
    """
    state = Fleet().find_run(run)
    if state.has_ended:
        raise ReloadFailed(f"run {state.name} is {state.state}: there is no server to change\n  next: mixvllm ps")
    if isinstance(state, SubmittedState) or job_id_of(state) is not None:
        what = f"{state.name} is in a job of Slurm, which runs what was submitted, and does not change"
        raise ReloadFailed(f"{what}\n  next: mixvllm stop {state.name}, and submit it anew with the other values")
    if state.is_remote:
        where = f"run {state.name} runs on {state.host}, and takes this there alone"
        raise ReloadFailed(f"{where}\n  next: ssh {state.host} mixvllm reload {state.folder.path}")
    if state.state == "starting" and state.record.get("attempt", 0) <= 1:
        raise ReloadFailed(f"run {state.name} has not served yet\n  next: mixvllm wait {state.name}")
    request = {"id": secrets.token_hex(8), "overrides": list(overrides)}
    write_json(state.folder.reload_request, request)
    return _follow(state.folder, request["id"])


def _follow(folder: RunFolder, request: object) -> int:
    """Show each answer to `request`, until one is the last."""
    shown = ""
    while True:
        has_ended = look_at(folder).has_ended  # before the answer, so that none of a run that has ended is missed
        answer = read_json(folder.reload_answer) or {}
        if answer.get("id") == request and answer["state"] != shown:
            shown = answer["state"]
            _show(answer)
            if shown in _EXIT_CODES:
                return _EXIT_CODES[shown]
        elif has_ended:
            folder.reload_request.unlink(missing_ok=True)
            raise ReloadFailed(f"run {folder.name} ended before it answered\n  next: mixvllm logs {folder.name}")
        time.sleep(_TICK_S)


def _show(answer: dict[str, Any]) -> None:
    words = {
        "refused": "refused; the server goes on as it is",
        "unchanged": "nothing differs; the server goes on as it is",
        "replacing": "draining the server, then starting:",
        "rolled_back": "the new server did not become ready; the old one serves again",
        "done": "done",
    }[answer["state"]]
    difference = answer.get("difference", []) if answer["state"] == "replacing" else []
    lines = [f"reload: {words}", *(f"  {line}" for line in [*difference, *answer.get("cause", "").splitlines()])]
    sys.stderr.write("\n".join(lines) + "\n")
