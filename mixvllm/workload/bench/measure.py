"""One repeat of the workload `bench`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import Interrupted, ServerFailed, WorkloadFailed
from mixvllm.server.server import Server
from mixvllm.workload.bench.caches import Reset, reset_caches
from mixvllm.workload.bench.command import build_bench_command, seed_of
from mixvllm.workload.bench.expected import expected_of
from mixvllm.workload.bench.generator import LoadGenerator
from mixvllm.workload.bench.metrics import bench_metrics, read_result
from mixvllm.workload.bench.tokenizer import find_tokenizer
from mixvllm.workload.bench.verdict import Evidence, generator_load, invalid_reasons, remarks
from mixvllm.workload.client import client_environment
from mixvllm.workload.measurement import Measurement
from mixvllm.workload.programs import Ended, end_of_log
from mixvllm.workload.span import Span, look

_SETTLE_S = 3.0  # for a server whose requests failed to be seen dead, if it is
_TICK_S = 0.1


@dataclass(frozen=True)
class _Done:
    """A repeat that has numbers: what `vllm bench serve` wrote, and where; how it ended; the caches before it."""

    result: Mapping[str, Any]
    ended: Ended
    reset: Reset
    path: Path


def run_bench(
    config: ExperimentConfig,
    server: Server,
    generator: LoadGenerator,
    folder: Path,
    repeat: int,
    should_stop: Callable[[], bool],
) -> Measurement:
    """Return the repeat number `repeat` of the workload of `config`, with caches emptied before it.

    Its files are `bench-<repeat>.json`, as vLLM wrote it, and `bench-<repeat>.log`.

    Args:
        config: validated.
        server: ready.
        folder: exists.
        repeat: counted from 0.
        should_stop: asked again and again.

    Raises:
        Interrupted: `should_stop` said so.
    """
    seed = seed_of(config.workload, repeat)
    try:
        server.check()
        server.client.check_identity(server.address.identity(server.model_name))
        reset = reset_caches(server.client)
    except ServerFailed as error:
        return Span(server, repeat, seed).failed(error.cause, error)
    span = Span(server, repeat, seed)
    result_path, log = folder / f"bench-{repeat}.json", folder / f"bench-{repeat}.log"
    result_path.unlink(missing_ok=True)
    try:
        ended = _generate(config, server, generator, (result_path, log), repeat, should_stop)
        result = _read(result_path, log, ended, config.workload.timeout_s)
        _check_server(server, result)
    except (ServerFailed, WorkloadFailed) as error:
        cause = error.cause if isinstance(error, ServerFailed) else str(error)
        return span.failed(cause, error if isinstance(error, ServerFailed) else None)
    return _judge(config, server, span, _Done(result, ended, reset, result_path))


def _generate(
    config: ExperimentConfig,
    server: Server,
    generator: LoadGenerator,
    files: tuple[Path, Path],
    repeat: int,
    should_stop: Callable[[], bool],
) -> Ended:
    environment = client_environment(server, generator.environment)
    tokenizer = find_tokenizer(config.model, generator.environment)
    argv = build_bench_command(config, url=server.url, tokenizer=tokenizer, repeat=repeat, result=files[0])

    def must_stop() -> bool:
        server.check()
        return should_stop()

    ended = generator.run(argv, files[1], config.workload.timeout_s, must_stop, environment=environment)
    if ended.was_stopped:
        raise Interrupted("stopped before the benchmark was done")
    return ended


def _read(result_path: Path, log: Path, ended: Ended, timeout_s: float | None) -> dict[str, Any]:
    if ended.is_late:
        raise WorkloadFailed(f"not done in workload.timeout_s={timeout_s:g}\n  log: {log}\n{end_of_log(log)}")
    result = read_result(result_path) if ended.status == 0 else None
    if result is None:
        raise WorkloadFailed(f"vllm bench serve ended with status {ended.status}\n  log: {log}\n{end_of_log(log)}")
    return result


def _check_server(server: Server, result: Mapping[str, Any]) -> None:
    """Raise where the server did not live through it; a death shows in the requests before it shows in a process."""
    has_failures = result.get("failed") or any(result.get("errors") or [])
    deadline = time.monotonic() + (_SETTLE_S if has_failures else 0)
    server.check()
    while time.monotonic() < deadline:
        time.sleep(_TICK_S)
        server.check()
    server.client.check_identity(server.address.identity(server.model_name))


def _judge(config: ExperimentConfig, server: Server, span: Span, done: _Done) -> Measurement:
    finished = look(server)
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
