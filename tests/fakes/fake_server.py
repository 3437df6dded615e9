"""A started fake server, as a test sees it: its processes, its log and its answers."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .interpreter import make_interpreter

T = TypeVar("T")

_DEADLINE_S = 60
_MARKER = "FAKE_TEST_MARKER"


class FakeServer:
    """One started fake server."""

    def __init__(
        self, directory: Path, port: int, arguments: list[str], environ: dict[str, str], **script: object
    ) -> None:
        self.log_path = directory / "server.log"
        self._pids_path = directory / "pids"
        self._address = ("127.0.0.1", port)
        program = make_interpreter(directory, phase_s=0.001, pids_file=str(self._pids_path), **script)
        command = [
            str(program),
            "-m",
            "vllm.entrypoints.cli.main",
            "serve",
            "/models/demo",
            "--port",
            str(port),
            *arguments,
        ]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=os.environ | {_MARKER: "1"} | environ
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def pids(self) -> dict[str, int]:
        """Titles and pids of all processes that were started so far."""
        lines = self._pids_path.read_text().splitlines() if self._pids_path.exists() else []
        return {title: int(pid) for title, _, pid in (line.rpartition(" ") for line in lines)}

    @property
    def alive(self) -> set[str]:
        """Titles of the processes that still run."""
        return {title for title, pid in self.pids.items() if is_alive(pid)}

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.log)

    def wait_process(self, title: str) -> int:
        return wait_until(lambda: self.pids.get(title, 0))

    def wait_ready(self) -> "FakeServer":
        wait_until(lambda: self._accepts() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        return self

    def wait_exit(self) -> int:
        return self.process.wait(_DEADLINE_S)

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        status, content = self.request("POST", path, json.dumps(body), headers)
        return status, json.loads(content)

    def post_later(self, path: str, body: object) -> "Answer":
        return Answer(lambda: self.request("POST", path, json.dumps(body), {}))

    def request(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, str]:
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=_DEADLINE_S)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def read_metric(self, name: str) -> float:
        match = re.search(rf"^{name}\{{.*\}} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        assert match, name
        return float(match[1])

    def wait_running(self, number: int) -> None:
        wait_until(lambda: self.read_metric("vllm:num_requests_running") == number)

    def end(self) -> None:
        """Kill all processes, the leader first so that none is added."""
        self.process.kill()
        self.process.wait()
        for title, pid in self.pids.items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                _kill_if_titled(title, pid)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self._address) == 0


class Answer:
    """A request on its way."""

    def __init__(self, send: Callable[[], tuple[int, str]]) -> None:
        self._answers: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=lambda: self._answers.append(send()), daemon=True)
        self._thread.start()

    @property
    def is_there(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> tuple[int, str]:
        self._thread.join(_DEADLINE_S)
        return self._answers[0]


def wait_until(get: Callable[[], T]) -> T:
    """Return the first true answer of `get`."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        answer = get()
        if answer:
            return answer
        time.sleep(0.005)
    raise TimeoutError(f"nothing in {_DEADLINE_S} s")


def _read_stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0", "0", "0"]


def is_alive(pid: int) -> bool:
    return _read_stat(pid)[0] not in "ZX"


def get_parent_group_session(pid: int) -> tuple[int, int, int]:
    parent, group, session = map(int, _read_stat(pid)[1:4])
    return parent, group, session


def read_command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()


def _kill_if_titled(title: str, pid: int) -> None:
    """Kill `pid` unless it was given to another program meanwhile; a fresh child still has its leader's title."""
    if read_command(pid).startswith(title) or "vllm.entrypoints.cli.main" in read_command(pid):
        os.kill(pid, signal.SIGKILL)


def shows_marker(pid: int) -> bool:
    return _MARKER.encode() in Path(f"/proc/{pid}/environ").read_bytes()
