"""One repeat of the workload `bench`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.errors import ServerFailed, WorkloadFailed
from mixvllm.server.server import Server
from mixvllm.workload.bench.caches import Reset, reset_caches
from mixvllm.workload.bench.command import build_bench_command
from mixvllm.workload.bench.expected import expected_of
from mixvllm.workload.bench.metrics import bench_metrics, read_result
from mixvllm.workload.bench.tokenizer import find_tokenizer
from mixvllm.workload.bench.verdict import Evidence, generator_load, invalid_reasons, remarks
from mixvllm.workload.client import client_environment
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.programs import Ended, end_of_log
from mixvllm.workload.span import Span, look
from mixvllm.workload.task import RepeatTask

_PROGRAM = "vllm bench serve"
_SETTLE_S = 3.0  # for a server whose requests failed to be seen dead, if it is
_TICK_S = 0.1


@dataclass(frozen=True)
class _Done:
    """A repeat that has numbers: what `vllm bench serve` wrote, and where; how it ended; the caches before it."""

    result: Mapping[str, Any]
    ended: Ended
    reset: Reset
    path: Path


def run_bench(task: RepeatTask) -> Measurement:
    """Return one repeat by `vllm bench serve`, with caches emptied before it.

    Its files are `bench-<repeat>.json`, as vLLM wrote it, and `bench-<repeat>.log`.

    Raises:
        Interrupted: a stop was asked for.
    """
    server = task.server
    try:
        server.check()
        server.client.check_identity(server.address.identity(server.model_name))
        reset = reset_caches(server.client)
    except ServerFailed as error:
        return task.begin().failed(error.cause, error)
    span = task.begin()
    path = task.folder / f"bench-{task.repeat}.json"
    path.unlink(missing_ok=True)
    try:
        ended, result = _generate(task, path)
        _check_server(server, result)
    except (ServerFailed, WorkloadFailed) as error:
        cause = error.cause if isinstance(error, ServerFailed) else str(error)
        return span.failed(cause, error if isinstance(error, ServerFailed) else None)
    return _judge(task, span, _Done(result, ended, reset, path))


def _generate(task: RepeatTask, path: Path) -> tuple[Ended, dict[str, Any]]:
    """Run `vllm bench serve`, and return how it ended, and what it wrote to `path`."""
    environment = client_environment(task.server, task.generator.environment)
    tokenizer = find_tokenizer(task.config.model, task.generator.environment)
    url, log = task.server.url, path.with_suffix(".log")
    argv = build_bench_command(task.config, url=url, tokenizer=tokenizer, repeat=task.repeat, result=path)
    timeout_s = task.config.workload.timeout_s
    ended = task.generator.run(argv, log, timeout_s, task.must_end, environment=environment)
    task.check_ended(_PROGRAM, ended, log)
    result = read_result(path)
    if result is None:
        raise WorkloadFailed(f"{_PROGRAM} left no result that can be read\n  log: {log}\n{end_of_log(log)}")
    return ended, result


def _check_server(server: Server, result: Mapping[str, Any]) -> None:
    """Raise where the server did not live through it; a death shows in the requests before it shows in a process."""
    has_failures = result.get("failed") or any(result.get("errors") or [])
    deadline = time.monotonic() + (_SETTLE_S if has_failures else 0)
    server.check()
    while time.monotonic() < deadline:
        time.sleep(_TICK_S)
        server.check()
    server.client.check_identity(server.address.identity(server.model_name))


def _judge(task: RepeatTask, span: Span, done: _Done) -> Measurement:
    config, finished = task.config, look(task.server)
    evidence = Evidence(
        result=done.result,
        expected=expected_of(config.workload, done.result),
        ended=done.ended,
        began=span.began,
        finished=finished,
        rates=span.rates(finished),
        reset=done.reset,
        caches_prefixes=config.inference.enable_prefix_caching is not False,
    )
    load = generator_load(evidence)
    own = {} if load is None else {"load_generator_cores": round(load, 3)}
    reasons = invalid_reasons(evidence)
    return span.measurement(
        "invalid" if reasons else "ok",
        "; ".join(reasons) or None,
        metrics=bench_metrics(done.result),
        server_metrics=span.server_metrics(finished) | own,
        remarks=tuple(remarks(evidence)),
        result=done.path,
    )
