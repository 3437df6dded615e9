"""The workload `command`: a program of the user's, which writes its numbers to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.errors import ServerFailed, WorkloadFailed
from mixvllm.workload.client import CLIENT_KEY_VARIABLE, client_environment
from mixvllm.workload.measurement import Measurement, is_number
from mixvllm.workload.span import look
from mixvllm.workload.task import RepeatTask

_NO_KEY = "none"  # OpenAI's own client does not start without one


@dataclass(frozen=True)
class Program:
    """A program that measures.

    Args:
        name: what it is called in messages, and its log in the folder.
        argv: arguments, shape (n,), program first.
        environment: over what every client of the server has.
        read: returns its metrics and what speaks against them, when it has ended with status 0; raises
            `WorkloadFailed` where it has left none.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    read: Callable[[], tuple[dict[str, float], list[str]]]


def run_command(task: RepeatTask) -> Measurement:
    """Return one repeat by the user's program.

    The program finds the server by OPENAI_BASE_URL and OPENAI_API_KEY, the model's name in MIXVLLM_MODEL, its own
    folder in MIXVLLM_RUN_DIR, and MIXVLLM_REPEAT, MIXVLLM_SEED, MIXVLLM_SAMPLING (what `generation` says, as JSON).
    """
    name = f"command-{task.repeat}"
    own = task.folder / name
    own.mkdir(mode=0o700, exist_ok=True)
    numbers = own / "metrics.json"
    numbers.unlink(missing_ok=True)
    program = Program(
        name=name,
        argv=command_line(task.config.workload.command or ""),
        environment={
            "OPENAI_BASE_URL": f"{task.server.url}/v1",
            "MIXVLLM_MODEL": task.server.model_name,
            "MIXVLLM_RUN_DIR": str(own),
            "MIXVLLM_REPEAT": str(task.repeat),
            "MIXVLLM_SEED": str(task.seed),
            "MIXVLLM_SAMPLING": json.dumps(task.config.generation.request_fields()),
        },
        read=lambda: (read_metrics_file(numbers), []),
    )
    return run_program(program, task)


def run_program(program: Program, task: RepeatTask) -> Measurement:
    """Return one repeat, measured by `program`.

    Raises:
        Interrupted: a stop was asked for.
    """
    span = task.begin()
    log = task.folder / f"{program.name}.log"
    try:
        _run(program, task, log)
        metrics, reasons = program.read()
        task.server.check()
    except ServerFailed as error:
        return span.failed(error.cause, error)
    except WorkloadFailed as error:
        return span.failed(str(error))
    return span.measurement(
        "invalid" if reasons else "ok",
        "; ".join(reasons) or None,
        metrics=metrics,
        server_metrics=span.server_metrics(look(task.server)),
        result=log,
    )


def _run(program: Program, task: RepeatTask, log: Path) -> None:
    client = {CLIENT_KEY_VARIABLE: _NO_KEY, **client_environment(task.server, task.generator.environment)}
    environment, timeout_s = {**client, **program.environment}, task.config.workload.timeout_s
    ended = task.generator.run_program(program.argv, log, timeout_s, task.must_end, environment=environment)
    task.check_ended(program.name, ended, log)


def command_line(command: str | Sequence[str]) -> list[str]:
    """Return `command` as arguments; a text is for the shell."""
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def read_metrics_file(path: Path) -> dict[str, float]:
    """Return the numbers that a program wrote to `path`.

    Raises:
        WorkloadFailed: there is no such file, or something else than an object of finite numbers in it.
    """
    try:
        value: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkloadFailed(
            f"the command wrote no {path}\n  next: have it write an object of numbers to $MIXVLLM_RUN_DIR/metrics.json"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise WorkloadFailed(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise WorkloadFailed(f"{path} must hold one object of numbers")
    wrong = [name for name, number in value.items() if not is_number(number)]
    if wrong:
        raise WorkloadFailed(f"{path}: {', '.join(wrong)} must be a finite number")
    return {name: float(number) for name, number in value.items()}
