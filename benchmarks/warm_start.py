"""What a further server costs that a warm engine forks, against the same server started cold.

From the launcher's start of the server until it has produced a token: the same configuration, for a model that is
loaded in no time, so that what is measured is everything else. Starts alternate (cold, warm, warm, cold); they are
distinct servers, each in a folder and on a port of its own. What the warm engine takes once is shown beside it.

Run it from the root of a checkout with vLLM for CPUs: python -m benchmarks.warm_start [--quick]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._report import Pairs, Series, measure_pairs, progress, report
from benchmarks._session import exit_at_sigterm
from mixvllm import InferenceConfig, ModelConfig, ServeConfig, ServerConfig
from mixvllm.demo import ensure_demo_model
from mixvllm.runs.folder import RunFolder
from mixvllm.server.start import Deployment, environment_of, launch, take_address
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.server.warm.interpreter import WarmEngine
from mixvllm.vllm.installation import find_installation
from tests.ports import find_port

MAX_RATIO = 0.2

_ENVIRONMENT: dict[str, str | None] = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
}
_READY_TIMEOUT_S = 300.0


def main() -> int:
    """Measure, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs: shows that it works, says little")
    num_pairs = 2 if parser.parse_args().quick else 8
    exit_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="mixvllm-warm-") as name, WarmEngines(progress) as engines:
        try:
            rows = time_starts(num_pairs, Path(name), engines)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    return report("warm_start", "a further server from a warm engine against a cold one, in interleaved pairs", rows)


def time_starts(num_pairs: int, folder: Path, engines: WarmEngines) -> list[Pairs | Series]:
    """Measure the time to ready of cold and warm servers, after a discarded cold one, and what preloading takes."""
    model = folder / "demo-model"
    ensure_demo_model(model, find_installation(None).python, progress)
    ready_s(_deployment(model), folder, None)
    deployment = _deployment(model)
    began = time.perf_counter()
    warm = engines.get(deployment.installation, environment_of(deployment))
    if warm is None:
        sys.exit(f"error: {engines.why_not(deployment.installation, environment_of(deployment))}")
    first_s = time.perf_counter() - began + ready_s(deployment, folder, warm)
    cold, warm_s = measure_pairs(
        num_pairs,
        lambda: ready_s(_deployment(model), folder, None),
        lambda: ready_s(_deployment(model), folder, warm),
        lambda pair, a, b: progress(f"start {pair}/{num_pairs}: cold {a:.1f} s, warm {b:.1f} s"),
    )
    return [
        Pairs("time to ready, s", cold, warm_s, MAX_RATIO),
        Series("first with its import, s", [first_s]),
        Series("memory of the engine, MiB", [warm.memory_bytes / (1 << 20)]),
    ]


def ready_s(deployment: Deployment, folder: Path, warm: WarmEngine | None) -> float:
    """Start a server, stop it when it has produced a token, and return how long that took in seconds."""
    run = RunFolder.create(folder / "outputs")
    address = take_address(deployment.config, run)
    began = time.perf_counter()
    starts: list[str] = []
    with launch(
        deployment, run, address, [lambda event: starts.append(event.fields.get("start", ""))], warm=warm
    ) as one:
        one.wait_ready()
        taken_s = time.perf_counter() - began
    if starts[0] != ("warm" if warm else "cold"):
        sys.exit(f"error: a server was started {starts[0]}")
    return taken_s


def _deployment(model: Path) -> Deployment:
    """Return what is served, on a port of its own."""
    config = ServeConfig(
        model=ModelConfig(name=str(model), served_model_name=["demo"]),
        inference=InferenceConfig(
            dtype="float32", enforce_eager=True, kv_cache_memory_bytes="64M", max_num_seqs=4, max_num_batched_tokens=512
        ),
        server=ServerConfig(port=find_port(), env=_ENVIRONMENT, drain_timeout_s=5, ready_timeout_s=_READY_TIMEOUT_S),
    )
    return Deployment(config, find_installation(None))


if __name__ == "__main__":
    sys.exit(main())
