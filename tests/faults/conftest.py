"""Services of the fake vLLM with short limits, all ended when a test is over."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mixvllm import InferenceConfig, ModelConfig, ServeConfig, ServerConfig
from mixvllm.errors import StopIncomplete
from mixvllm.runs.folder import RunFolder
from mixvllm.server.limits import STOP_LIMITS, StartLimit
from mixvllm.server.processes import send_signal
from tests.fakes.interpreter import make_interpreter
from tests.faults.launched import Launched, LaunchFake
from tests.faults.served import QUICK, Serve, Served, start_service
from tests.launches import Run
from tests.ports import find_port


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts a service: `server` and `inference` are keys, the rest of the fake's script.

    Its servers have little time to stop; where it `is_patient`, so much that not even a busy machine kills them.
    """
    started: list[Served] = []

    def start_one(
        server: dict[str, Any] | None = None,
        inference: dict[str, Any] | None = None,
        start_limit: StartLimit | None = None,
        *,
        is_patient: bool = False,
        **script: Any,
    ) -> Served:
        number = len(started)
        pids_file = tmp_path / f"pids-{number}"
        script = {"phase_s": 0.005, "pids_file": str(pids_file), **script}
        python = make_interpreter(tmp_path / f"python-{number}", **script)
        quick = {"port": find_port(), "drain_timeout_s": 1, "ready_timeout_s": 60, "restart_backoff_s": 0}
        config = ServeConfig(
            model=ModelConfig(name="some/model"),
            inference=InferenceConfig(**(inference or {})),
            server=ServerConfig(**{"python": str(python), **quick, **(server or {})}),
        )
        folder, limits = RunFolder.create(tmp_path / "outputs"), STOP_LIMITS if is_patient else QUICK
        started.append(start_service(config, folder, pids_file, start_limit, limits))
        return started[-1]

    yield start_one
    for one in started:
        one.witness.note()
        with suppress(StopIncomplete):
            one.service.stop(is_forced=lambda: True)
        for process in one.witness.processes:
            send_signal(process, signal.SIGKILL)


@pytest.fixture
def launch_fake(run: Run, tmp_path: Path) -> LaunchFake:
    """Return a function that launches the fake: arguments of the launcher, and keys of the fake's script.

    Its run folder is made in `outputs`, its standard streams are files elsewhere.
    """
    numbers = itertools.count()

    def launch_one(*arguments: str, outputs: Path | None = None, **script: Any) -> Launched:
        number = next(numbers)
        pids_file, outputs = tmp_path / f"launched-pids-{number}", outputs or tmp_path / f"outputs-{number}"
        own = [f"server.port={find_port()}", "server.restart=never", f"output_dir={outputs}"]
        return Launched(run(*own, *arguments, pids_file=str(pids_file), **script), pids_file, outputs)

    return launch_one
