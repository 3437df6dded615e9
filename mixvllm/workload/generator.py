"""The programs that measure a server: vLLM's load generator, imported once for many runs, and any other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import Interrupted
from mixvllm.machine.folders import cache_folder
from mixvllm.runtime.mounts import Mount
from mixvllm.runtime.wrapper import Wrapper
from mixvllm.vllm.describe import CLI_MODULE
from mixvllm.vllm.environment import API_KEY_VARIABLE, build_environment
from mixvllm.vllm.installation import Installation, complete_metadata
from mixvllm.workload.client import CLIENT_KEY_VARIABLE
from mixvllm.workload.programs import Ended, ProgramRunner, cold_runner

_WARM_LIMIT_S = 300.0  # an import of vLLM from a cold network file system
_COLD_LIMIT_S = 30.0
_ELSEWHERE = "its vLLM is in another runtime"


class LoadGenerator:
    """Runs `vllm bench serve`, and other programs that measure a server.

    A context manager: entering it starts a process that imports vLLM, in the background; each run is forked from it.
    Where it cannot be had, runs start cold, as on a command line, with the same options.

    Args:
        installation: whose `vllm bench serve` it is.
        environment: of the process; see `generator_environment`.
        log_folder: where it writes `load-generator.log`.
        is_warm: False starts each run cold.
        wrapper: what runs are wrapped in; those of another runtime than `local` start cold.
    """

    def __init__(
        self,
        installation: Installation,
        environment: Mapping[str, str],
        log_folder: Path,
        *,
        is_warm: bool = True,
        wrapper: Wrapper | None = None,
    ) -> None:
        self._installation = installation
        self._wrapper = None if wrapper is None or wrapper.runtime.kind == "local" else wrapper
        self.environment = dict(environment)
        self._log = log_folder / "load-generator.log"
        self._wants_warm = is_warm and self._wrapper is None
        self._warm: ProgramRunner | None = None
        self._cold: ProgramRunner | None = None
        self._is_checked = False
        self.cold_reason: str | None = None if self._wants_warm else "was not asked for" if not is_warm else _ELSEWHERE
        """Why runs start cold; None while they do not."""

    def __enter__(self) -> Self:
        if self._wants_warm:
            self._warm = ProgramRunner(self._installation.python, self.environment, self._log, is_warm=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what runs, and the processes that are kept. May be called again."""
        for runner in (self._warm, self._cold):
            if runner is not None:
                runner.close()
        self._warm = self._cold = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that are kept."""
        return tuple(runner.pid for runner in (self._warm, self._cold) if runner is not None)

    def run(
        self,
        argv: Sequence[str],
        log: Path,
        timeout_s: float | None,
        should_stop: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run `vllm bench serve` with the options `argv` to its end, its output in `log`.

        Args:
            timeout_s: after which it is ended; the import is not counted. None = no limit.
            should_stop: asked again and again; True ends it. What it raises is raised, when nothing of it is left.
            environment: over the generator's own, e.g. the server's key.

        Raises:
            WorkloadFailed: a process that keeps the programs was killed.
            Interrupted: `should_stop` said so before it was started.
        """
        whole = {**self.environment, **(environment or {})}
        warm = self._warm_runner(should_stop)
        if warm is not None:
            return warm.run(argv, whole, log, timeout_s, should_stop)
        program = [self._installation.python, "-m", CLI_MODULE, "bench", "serve", *argv]
        if self._wrapper is None:
            return self.run_program(program, log, timeout_s, should_stop, environment=environment)
        self._wrapper.make_folders(whole)
        folder = Mount(str(log.parent.absolute()), str(log.parent.absolute()))
        wrapped = self._wrapper.program(program, whole, mounts=[folder], variables=[CLIENT_KEY_VARIABLE])
        return self._run_cold(wrapped.argv, log, timeout_s, should_stop, wrapped.environment)

    def run_program(
        self,
        argv: Sequence[str],
        log: Path,
        timeout_s: float | None,
        should_stop: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run any program, as `run` does; `argv` begins with it."""
        return self._run_cold(argv, log, timeout_s, should_stop, {**self.environment, **(environment or {})})

    def _run_cold(
        self,
        argv: Sequence[str],
        log: Path,
        timeout_s: float | None,
        should_stop: Callable[[], bool],
        environment: Mapping[str, str],
    ) -> Ended:
        if self._cold is None:
            self._cold = cold_runner(self._log)
            self._cold.wait_ready(_COLD_LIMIT_S, should_stop)
        whole = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1", **environment}
        return self._cold.run(argv, whole, log, timeout_s, should_stop)

    def _warm_runner(self, should_stop: Callable[[], bool]) -> ProgramRunner | None:
        if self._warm is None or self._is_checked:
            return self._warm
        self.cold_reason = self._warm.wait_ready(_WARM_LIMIT_S, should_stop)
        if should_stop():
            raise Interrupted("stopped before the load generator was ready")
        self._is_checked = True
        if self.cold_reason is not None:
            self._warm.close()
            self._warm = None
        return self._warm


def generator_environment(config: ExperimentConfig, installation: Installation) -> dict[str, str]:
    """Return the environment of the programs that measure the server of `config`, without the server's key."""
    metadata = complete_metadata(installation, cache_folder())
    own = build_environment(config, os.environ, str(metadata) if metadata else None)
    return without_keys({**os.environ, **own})


def generator_wrapper(config: ExperimentConfig) -> Wrapper:
    """Return what `vllm bench serve` is wrapped in: what the server is, with the dataset in view."""
    wrapper = Wrapper.of(config, cache_folder())
    path = config.workload.dataset_path or ""
    if not (config.runtime.is_container and path.startswith("/") and Path(path).exists()):
        return wrapper
    return replace(wrapper, mounts=(*wrapper.mounts, Mount(path, path, is_read_only=True)))


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` without the keys of servers: neither ours, nor one that is for another server."""
    return {name: value for name, value in environment.items() if name not in (API_KEY_VARIABLE, CLIENT_KEY_VARIABLE)}
