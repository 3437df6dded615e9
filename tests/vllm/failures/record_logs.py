"""Record the logs of real servers that fail: `python -m tests.vllm.failures.record_logs [NAME …]`.

Takes half a minute each, with the vLLM of this environment (the CPU build). Some need root: they mount a small folder,
or take another user's place. What was recorded before is written anew.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from mixvllm import compose
from mixvllm.demo import ensure_demo_model
from mixvllm.machine.ports import lease_port
from mixvllm.server.command import ServerCommand, server_command
from mixvllm.vllm.installation import find_installation
from tests.vllm.failures.neutral import neutral, shortened
from tests.vllm.failures.scenes import BASE, MODEL, SCENES, Scene, Started

LOGS = Path(__file__).parent / "logs"
STATUSES = LOGS / "exit_statuses.json"
_DEADLINE_S = 240.0
_AFTER_ACT_S = 60.0


def record(name: str, scratch: Path, demo: Path) -> None:
    """Start the server of a scene, wait for its end, and keep its log."""
    scene = SCENES[name]
    model = scene.model(demo, scratch / "model")
    overrides = [*BASE, f"model.name={model}", *scene.overrides]
    with hub(scene) as hub_environment:
        log = scratch / "server.log"
        status = run(scene, overrides, log, {**hub_environment, "HF_HOME": str(scratch / "hub")})
    text = neutral(log.read_text(errors="replace"), {str(model): MODEL, str(scratch): "/run"})
    (LOGS / f"{name}.log").write_text(shortened(text))
    statuses = json.loads(STATUSES.read_text()) if STATUSES.exists() else {}
    STATUSES.write_text(json.dumps({**statuses, name: status}, indent=1, sort_keys=True) + "\n")
    print(f"{name}: exit status {status}, {len(text.splitlines())} lines", flush=True)


def run(scene: Scene, overrides: list[str], log: Path, environment: dict[str, str]) -> int | None:
    """Return how the server ended; None where it had to be ended."""
    lease = lease_port("127.0.0.1", "auto")
    try:
        command = server_command(compose(overrides), find_installation(None), port=lease.port)
        process = spawn(scene, command, log, environment)
        try:
            return watch(scene, Started(psutil.Process(process.pid), lease.port), process, log)
        finally:
            end_session(process)
    finally:
        lease.release()


def spawn(scene: Scene, command: ServerCommand, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the server as the scene says, in a session of its own."""
    scratch = log.parent
    arguments = [argument.replace("SCRATCH", str(scratch)) for argument in scene.arguments]
    own = {name: value.replace("SCRATCH", str(scratch)) for name, value in scene.environment.items()}
    if "VLLM_RPC_BASE_PATH" in own:
        Path(own["VLLM_RPC_BASE_PATH"]).mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    # What a killed server leaves (sockets, rendezvous files) goes away with the scratch folder.
    fixed = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "TMPDIR": str(scratch)}
    with log.open("wb") as output:
        return subprocess.Popen(
            [*scene.wrapper, shutil.which("nice") or "nice", "-n", "10", *command.argv, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**inherited, **fixed, **command.environment, **environment, **own},
            cwd=scratch,
            start_new_session=True,
        )


def watch(scene: Scene, started: Started, process: subprocess.Popen[bytes], log: Path) -> int | None:
    """Do to the server what the scene says, and wait for its end."""
    deadline = time.monotonic() + _DEADLINE_S
    act = scene.act
    while process.poll() is None and time.monotonic() < deadline:
        if act and scene.when in log.read_text(errors="replace"):
            time.sleep(1.0)
            act(started)
            act, deadline = None, time.monotonic() + _AFTER_ACT_S
        time.sleep(0.1)
    for rival in started.held:
        rival.close()
    return process.poll()


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End every process of the server's session."""
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == process.pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


@contextmanager
def hub(scene: Scene) -> Iterator[dict[str, str]]:
    """Run a hub that refuses every request as the scene says; yield the variables that lead to it."""
    if scene.hub_answer is None:
        yield {}
        return
    status, code = scene.hub_answer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the name that the server looks for

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()


def main(names: list[str]) -> None:
    """Record the scenes of these names, or all of them."""
    LOGS.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="mixvllm-logs-"))
    try:
        demo = work / "demo"
        ensure_demo_model(demo, sys.executable, print)
        for name in names or SCENES:
            scratch = work / name
            scratch.mkdir()
            record(name, scratch, demo)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
