"""Tells a shell how to reach a server."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import urlsplit

from mixvllm.cli.fleet.words import end_of, say, state_words
from mixvllm.cli.terminal import remark
from mixvllm.cluster.fleet import Fleet, job_id_of
from mixvllm.cluster.submitted import SubmittedState
from mixvllm.errors import MixvllmError
from mixvllm.runs.registry import host_name
from mixvllm.runs.trust import read_record
from mixvllm.server.fleet import UNKNOWN, RunState

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERY = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


class NotServing(MixvllmError):
    """The run has no server that answers."""


def show_url(run: str) -> int:
    """Print the lines that have OpenAI's clients use the server of `run`; for `eval`. The key itself is never in them.

    A server on another machine is reached through a tunnel; the line that makes one is printed beside them.

    Raises:
        NotServing: it has no server that answers now.
    """
    fleet = Fleet()
    state = _serving(fleet, fleet.find_run(run))
    is_there = state.state != UNKNOWN and not state.has_ended and state.folder.endpoint.exists()
    endpoint = read_record(state.folder.endpoint) if is_there else None
    if endpoint is None or "api_base" not in endpoint:
        raise NotServing(_refusal(state))
    if endpoint.get("job") != state.record.get("job"):
        raise NotServing(f"{state.folder.endpoint} is of another start of its job\n  next: mixvllm wait {state.name}")
    if state.is_remote and endpoint.get("bind") in _EVERY:
        endpoint["api_base"] = _from_outside(str(endpoint["api_base"]), _outside(endpoint, state.host))
    say(exports(endpoint))
    if state.is_remote and _host(endpoint) in _LOOPBACK:
        remark(f"# {state.name} runs on {state.host}; {_host(endpoint)} means that machine")
    if job_id_of(state) is not None:
        remark(f"# from another machine, first: {tunnel(endpoint, state.host, host_name())}")
    return 0


def exports(endpoint: dict[str, Any]) -> str:
    """Return the lines for `endpoint`, as `endpoint.json` has it."""
    base, key = shlex.quote(str(endpoint["api_base"])), _key(endpoint.get("api_key"))
    return f"export OPENAI_BASE_URL={base}\nexport OPENAI_API_KEY={key}"


def tunnel(endpoint: dict[str, Any], node: str, login: str) -> str:
    """Return the command that has the port of `endpoint` on `node` answer as the same port of the user's machine.

    Args:
        login: the machine between the two.
    """
    host, port = _host(endpoint), urlsplit(str(endpoint["api_base"])).port
    if endpoint.get("bind") in _EVERY:
        host = _outside(endpoint, node)
    if host in _LOOPBACK:  # there alone it is reached, so the way goes on to the node itself
        return f"ssh -N -L {port}:{_bracketed(host)}:{port} -J {shlex.quote(login)} {shlex.quote(node)}"
    return f"ssh -N -L {port}:{_bracketed(host)}:{port} {shlex.quote(login)}"


def _host(endpoint: dict[str, Any]) -> str:
    return urlsplit(str(endpoint["api_base"])).hostname or "127.0.0.1"


def _outside(endpoint: dict[str, Any], node: str) -> str:
    """Return what other machines call the machine of `endpoint`: the address that was chosen, or its name."""
    return str(endpoint.get("address") or node)


def _from_outside(base: str, node: str) -> str:
    parts = urlsplit(base)
    return parts._replace(netloc=f"{_bracketed(node)}:{parts.port}").geturl()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _serving(fleet: Fleet, state: RunState) -> RunState:
    """Return the run that serves, where `state` is of what was submitted and one alone does."""
    if not isinstance(state, SubmittedState):
        return state
    ready = [run for run in fleet.runs_of(state) if run.state == "ready"]
    if len(ready) > 1:
        listed = "\n".join(f"    {run.name}  job {job_id_of(run)} on {run.host}" for run in ready)
        raise NotServing(f"{len(ready)} servers of {state.name} serve\n{listed}\n  next: name one of them")
    return ready[0] if ready else state


def _key(reference: object) -> str:
    kind, _, where = str(reference or "none").partition(":")
    if kind == "file":
        return f'"$(cat {shlex.quote(where)})"'
    return f'"${{{where}:?}}"' if kind == "env" and where.isidentifier() else "none"


def _refusal(state: RunState) -> str:
    if state.has_ended:
        return f"nothing answers: {end_of(state)}\n  next: mixvllm ps shows what serves"
    if state.state == UNKNOWN:
        return f"whether {state.name} serves is not known: {state.cause}"
    what = f"{state.name} does not serve: it is {state_words(state)}"
    return f"{what}\n  next: mixvllm wait {state.name} --ready"
