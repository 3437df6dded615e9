"""The workload `command`: a program of the user's, which writes its numbers to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import Interrupted, ServerFailed, WorkloadFailed
from mixvllm.server.server import Server
from mixvllm.workload.bench.command import seed_of
from mixvllm.workload.bench.generator import LoadGenerator
from mixvllm.workload.client import CLIENT_KEY_VARIABLE, client_environment
from mixvllm.workload.measurement import Measurement, is_number
from mixvllm.workload.programs import end_of_log
from mixvllm.workload.span import Span, look

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


def run_command(
    config: ExperimentConfig,
    server: Server,
    generator: LoadGenerator,
    folder: Path,
    repeat: int,
    should_stop: Callable[[], bool],
) -> Measurement:
    """Return the repeat number `repeat` of the user's program; see `run_program` for the arguments.

    The program finds the server by OPENAI_BASE_URL and OPENAI_API_KEY, the model's name in MIXVLLM_MODEL, its own
    folder in MIXVLLM_RUN_DIR, and MIXVLLM_REPEAT, MIXVLLM_SEED, MIXVLLM_SAMPLING (what `generation` says, as JSON).
    """
    own = folder / f"command-{repeat}"
    own.mkdir(mode=0o700, exist_ok=True)
    numbers = own / "metrics.json"
    numbers.unlink(missing_ok=True)
    program = Program(
        name=f"command-{repeat}",
        argv=command_line(config.workload.command or ""),
        environment={
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "MIXVLLM_MODEL": server.model_name,
            "MIXVLLM_RUN_DIR": str(own),
            "MIXVLLM_REPEAT": str(repeat),
            "MIXVLLM_SEED": str(seed_of(config.workload, repeat)),
            "MIXVLLM_SAMPLING": json.dumps(config.generation.request_fields()),
        },
        read=lambda: (read_metrics_file(numbers), []),
    )
    return run_program(program, config, server, generator, folder, repeat, should_stop)


def run_program(  # noqa: PLR0913, PLR0917 - what every workload takes, and the program
    program: Program,
    config: ExperimentConfig,
    server: Server,
    generator: LoadGenerator,
    folder: Path,
    repeat: int,
    should_stop: Callable[[], bool],
) -> Measurement:
    """Return one repeat, measured by `program`.

    Args:
        folder: where its log goes.
        repeat: counted from 0.
        should_stop: asked again and again.

    Raises:
        Interrupted: `should_stop` said so.
    """
    span = Span(server, repeat, seed_of(config.workload, repeat))
    log = folder / f"{program.name}.log"
    try:
        _run(program, config, server, generator, log, should_stop)
        metrics, reasons = program.read()
        server.check()
    except ServerFailed as error:
        return span.failed(error.cause, error)
    except WorkloadFailed as error:
        return span.failed(str(error))
    return span.measurement(
        "invalid" if reasons else "ok",
        "; ".join(reasons) or None,
        metrics=metrics,
        server_metrics=span.server_metrics(look(server)),
        result=log,
    )


def _run(
    program: Program,
    config: ExperimentConfig,
    server: Server,
    generator: LoadGenerator,
    log: Path,
    should_stop: Callable[[], bool],
) -> None:
    def must_stop() -> bool:
        server.check()
        return should_stop()

    timeout_s = config.workload.timeout_s
    client = {CLIENT_KEY_VARIABLE: _NO_KEY, **client_environment(server, generator.environment)}
    environment = {**client, **program.environment}
    ended = generator.run_program(program.argv, log, timeout_s, must_stop, environment=environment)
    if ended.was_stopped:
        raise Interrupted(f"stopped before {program.name} was done")
    if ended.is_late:
        raise WorkloadFailed(f"not done in workload.timeout_s={timeout_s:g}\n  log: {log}\n{end_of_log(log)}")
    if ended.status != 0:
        raise WorkloadFailed(f"{program.name} ended with status {ended.status}\n  log: {log}\n{end_of_log(log)}")


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
