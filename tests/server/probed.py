"""An interpreter with a small program in the place of vLLM, which tells what it sees."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.warm.interpreter import WarmEngine
from mixvllm.vllm.installation import Installation
from tests.server.conftest import QUICK
from tests.written_runs import wait_for

PROBE = """\
import gc, json, os, resource, signal, sys, tempfile, threading
ENDS = {
    "returns": lambda: None,
    "exits with 3": lambda: sys.exit(3),
    "exits with a text": lambda: sys.exit("that is why"),
    "raises": lambda: {}["missing"],
    "is interrupted": lambda: os.kill(os.getpid(), signal.SIGINT),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leaves a thread": lambda: threading.Timer(0.2, print, ["the thread has ended"]).start(),
    "has an exit handler": lambda: __import__("atexit").register(print, "the handler was called"),
}
FACTS = lambda: {
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "path": sys.path,
    "main": [__name__, __spec__.name, sys.modules["__main__"].__dict__ is globals()],
    "environment": dict(os.environ),
    "tempdir": tempfile.gettempdir(),
    "cwd": os.getcwd(),
    "is_leader": os.getsid(0) == os.getpid(),
    "signals": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "cores": resource.getrlimit(resource.RLIMIT_CORE),
    "files": {number: os.readlink(f"/proc/self/fd/{number}") for number in "012"},
    "num_files": len(os.listdir("/proc/self/fd")),
    "num_threads": len(os.listdir("/proc/self/task")),
    "name": open("/proc/self/comm").read(),
    "gc": gc.isenabled(),
}
if __name__ == "__main__":
    print(json.dumps(FACTS()) if sys.argv[1] == "tells" else "", flush=True)
    ENDS.get(sys.argv[1], lambda: None)()
"""
"""What stands for vLLM's command line: it tells what it sees, or ends in some way."""


class Probed:
    """An interpreter whose vLLM is `PROBE`; what it imports beforehand is `imported`."""

    def __init__(self, tmp_path: Path, imported: str = "", version: str = "0.32.0") -> None:
        self.site, self.number, self.tmp_path = tmp_path / "site", 0, tmp_path
        cli = self.site / "vllm" / "entrypoints" / "cli"
        cli.mkdir(parents=True)
        for folder in (cli, cli.parent, cli.parent.parent):
            (folder / "__init__.py").touch()
        (cli / "main.py").write_text(PROBE)
        (cli / "serve.py").write_text(imported)
        metadata = self.site / f"vllm-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")

    @property
    def installation(self) -> Installation:
        return Installation(sys.executable, "0.32.0", "vllm", "vllm.entrypoints.cli.main")

    def environment(self, **variables: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.site), **variables}

    def run(self, warm: WarmEngine | None, argument: str, **variables: str) -> tuple[int | None, str]:
        """Run it to its end under a guardian; return its exit status and what it printed."""
        self.number += 1
        log, tmp_dir = self.tmp_path / "log", self.tmp_path / "tmp"
        log.unlink(missing_ok=True)
        process = GuardedProcess.start(
            [sys.executable, "-m", "vllm.entrypoints.cli.main", argument, "two words"],
            self.environment(TMPDIR=str(tmp_dir), **variables),
            log=log,
            tmp_dir=tmp_dir,
            limits=QUICK,
            drain_s=1,
            **({"guard": warm.fork_guardian} if warm else {}),
        )
        try:
            wait_for(lambda: process.poll() is not None)
            return process.poll(), log.read_text()
        finally:
            process.kill()
