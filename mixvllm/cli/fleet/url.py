"""Tells a shell how to reach a server."""

from __future__ import annotations

import shlex
from typing import Any

from mixvllm.cli.fleet.words import end_of, remark, say, state_words
from mixvllm.errors import MixvllmError
from mixvllm.runs.trust import read_record
from mixvllm.server.fleet import RunState, find_run


class NotServing(MixvllmError):
    """The run has no server that answers."""


def show_url(run: str) -> int:
    """Print the lines that have OpenAI's clients use the server of `run`; for `eval`. The key itself is never in them.

    Raises:
        NotServing: it has no server that answers now.
    """
    state = find_run(run)
    is_there = not state.has_ended and state.folder.endpoint.exists()
    endpoint = read_record(state.folder.endpoint) if is_there else None
    if endpoint is None or "api_base" not in endpoint:
        raise NotServing(_refusal(state))
    say(exports(endpoint))
    if state.is_remote:
        remark(f"# {state.name} runs on {state.host}; 127.0.0.1 means that machine")
    return 0


def exports(endpoint: dict[str, Any]) -> str:
    """Return the lines for `endpoint`, as `endpoint.json` has it."""
    base, key = shlex.quote(str(endpoint["api_base"])), _key(endpoint.get("api_key"))
    return f"export OPENAI_BASE_URL={base}\nexport OPENAI_API_KEY={key}"


def _key(reference: object) -> str:
    kind, _, where = str(reference or "none").partition(":")
    if kind == "file":
        return f'"$(cat {shlex.quote(where)})"'
    return f'"${{{where}:?}}"' if kind == "env" and where.isidentifier() else "none"


def _refusal(state: RunState) -> str:
    if state.has_ended:
        return f"nothing answers: {end_of(state)}\n  next: mixvllm ps shows what serves"
    what = f"{state.name} does not serve: it is {state_words(state)}"
    return f"{what}\n  next: mixvllm wait {state.name} --ready"
