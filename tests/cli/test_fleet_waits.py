"""Waiting for runs, and reaching them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixvllm.cli.fleet.url import NotServing, show_url
from mixvllm.cli.fleet.wait import Goal, wait_for
from mixvllm.runs.folder import RunFolder
from mixvllm.server.processes import identify
from tests.written_runs import DEAD, Processes, role, write_run, write_status

FAILURE = {
    "id": "kv-cache-too-small",
    "kind": "config",
    "cause": "too long",
    "fix": "make it shorter",
    "override": "inference.max_model_len=2048",
    "line": "ValueError: too \x1b[2Jlong",
    "line_number": 17,
}


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.end()


def own() -> dict[str, int]:
    process = identify(os.getpid())
    assert process is not None
    return role(process)


def serving(api_key: str | None = None, name: str = "a", **status: Any) -> RunFolder:
    run = write_run(name, **{"state": "ready", "url": "http://127.0.0.1:8000", "supervisor": own(), **status})
    run.endpoint.write_text(json.dumps({"api_base": "http://127.0.0.1:8000/v1", "api_key": api_key}))
    return run


@pytest.mark.parametrize(("goal", "state"), [("ready", "ready"), ("stopped", "stopped")])
def test_what_is_there_already_is_not_waited_for(goal: Goal, state: str) -> None:
    serving(state=state)

    assert wait_for("last", goal, timeout_s=0) == 0


@pytest.mark.parametrize(("goal", "state"), [("ready", "ready"), ("stopped", "stopped")])
def test_a_wait_ends_when_the_state_is_there(goal: Goal, state: str) -> None:
    run = write_run("a", state="starting", supervisor=own())
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(wait_for("last", goal)))
    thread.start()
    write_status(run, state=state, supervisor=own())
    thread.join(60)

    assert codes == [0]


def test_a_ready_server_is_told_with_its_url(capsys: pytest.CaptureFixture[str]) -> None:
    serving()

    wait_for("last")

    assert capsys.readouterr().out == "a is ready: http://127.0.0.1:8000/v1\n"


@pytest.mark.parametrize("goal", ["ready", "stopped"])
def test_a_failure_ends_every_wait_with_cause_line_and_what_to_try(
    capsys: pytest.CaptureFixture[str], goal: Goal
) -> None:
    run = write_run("a", state="failed", cause="too long", failure=FAILURE)

    code = wait_for("last", goal)

    assert code == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: a failed: too long",
        f"  log:  {run.server_log}:17",
        "    ValueError: too ?[2Jlong",
        "  try:  inference.max_model_len=2048",
    ]


def test_without_an_override_the_fix_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = dict.fromkeys(("override", "line", "line_number"))
    run = write_run("a", state="failed", cause="x", failure=FAILURE | nothing)

    wait_for("last")

    lines = capsys.readouterr().err.splitlines()
    assert lines == ["error: a failed: x", f"  log:  {run.server_log}", "  next: make it shorter"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"state": "stopped"}, "a was stopped"),
        ({"state": "ready", "supervisor": role(DEAD), "guardian": role(DEAD)}, "a is lost: launcher and guardian"),
    ],
)
def test_a_run_that_will_not_be_ready_any_more_is_told(
    capsys: pytest.CaptureFixture[str], status: dict[str, Any], words: str
) -> None:
    write_run("a", **status)

    assert (wait_for("last"), words in capsys.readouterr().err) == (1, True)


def test_a_wait_that_takes_too_long_says_what_the_run_is_at(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("a", state="starting", phase="weights", supervisor=own())

    code = wait_for("last", timeout_s=0.2)

    assert (code, capsys.readouterr().err.splitlines()) == (
        1,
        [
            "error: a is not ready after 0.2 s: it is starting (weights)",
            "  next: mixvllm logs a -f shows what it does",
        ],
    )


def evaluated(lines: str, **environment: str) -> list[str]:
    """Return what a shell has in the variables that OpenAI's clients read, after `lines`."""
    script = f'set -e\n{lines}\nprintf "%s\\n" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=os.environ | environment)
    return done.stdout.splitlines() if done.returncode == 0 else [done.stderr.strip()]


def test_a_shell_gets_url_and_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    serving()

    show_url("last")

    assert evaluated(capsys.readouterr().out) == ["http://127.0.0.1:8000/v1", "none"]


def test_a_shell_gets_a_key_from_its_file_and_the_key_is_not_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / 'it\'s a "key" $HOME'
    file.write_text("secret-value\n")
    serving(f"file:{file}")

    show_url("last")

    lines = capsys.readouterr().out
    assert (evaluated(lines)[1], "secret" in lines) == ("secret-value", False)


def test_a_shell_gets_a_key_from_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    serving("env:MY_KEY")

    show_url("last")

    lines = capsys.readouterr().out
    assert (evaluated(lines, MY_KEY="a b")[1], "MY_KEY" in evaluated(lines)[0]) == ("a b", True)


@pytest.mark.parametrize("reference", ["env:X; touch evil", "env:$(touch evil)", "file:'; touch evil; '", "x"])
def test_a_record_cannot_make_a_shell_do_anything(capsys: pytest.CaptureFixture[str], reference: str) -> None:
    run = serving(reference)
    base = "http://h/v1'; touch evil; '"
    run.endpoint.write_text(json.dumps({"api_base": base, "api_key": reference}))

    show_url("last")

    evaluated(capsys.readouterr().out)
    assert not Path("evil").exists()


def test_a_server_on_another_machine_is_said_to_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    serving(host="elsewhere")

    show_url("last")

    shown = capsys.readouterr()
    assert (len(shlex.split(shown.out)), "a runs on elsewhere" in shown.err) == (4, True)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"state": "starting", "phase": "weights", "supervisor": own()}, "a does not serve: it is starting (weights)"),
        ({"state": "failed", "cause": "out of memory"}, "nothing answers: a failed: out of memory"),
        ({"state": "ready", "supervisor": role(DEAD)}, "nothing answers: a is lost"),
    ],
)
def test_where_nothing_answers_nothing_is_printed_and_it_is_told_why(
    capsys: pytest.CaptureFixture[str], status: dict[str, Any], words: str
) -> None:
    run = write_run("a", **status)
    if status["state"] != "starting":
        run.endpoint.write_text(json.dumps({"api_base": "http://127.0.0.1:8000/v1", "api_key": None}))

    with pytest.raises(NotServing) as caught:
        show_url("last")

    assert (capsys.readouterr().out, str(caught.value).startswith(words), "next:" in str(caught.value)) == (
        "",
        True,
        True,
    )
