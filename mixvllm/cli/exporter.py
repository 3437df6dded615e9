"""`mixvllm exporter`: all servers of this user for Prometheus and for health checks, over HTTP."""

from __future__ import annotations

import errno
import json
import signal
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.exposition import exposition, health
from mixvllm.errors import MixvllmError, PortInUse
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.snapshot import Snapshot, read_snapshot

_CLIENT_TIMEOUT_S = 10.0


class Exporter(ThreadingHTTPServer):
    """Answers `/metrics` and `/health`, read from the run folders at every request.

    Args:
        find: tells the run folders; called at every request.
        host: to bind; whoever reaches it can read the names and the load of all servers.
        port: 0 = a free one.

    Raises:
        PortInUse: somebody has the port.
        MixvllmError: this machine has no such address, or the user may not take the port.
    """

    daemon_threads = True

    def __init__(self, find: Callable[[], Sequence[Path]], *, host: str = "127.0.0.1", port: int = 9400) -> None:
        self.find = find
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            kind = PortInUse if error.errno == errno.EADDRINUSE else MixvllmError
            raise kind(f"cannot listen on {host}:{port}: {error.strerror}\n  next: another --port or --host") from error

    def server_bind(self) -> None:
        """Bind without asking the name service who we are, which may take its time."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """`http://host:port`."""
        host = str(self.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_address[1]}"

    def snapshots(self) -> list[Snapshot]:
        """Return all runs as they are now."""
        return [read_snapshot(RunFolder(folder)) for folder in self.find()]


def run_exporter(find: Callable[[], Sequence[Path]], *, host: str = "127.0.0.1", port: int = 9400) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code.

    Raises:
        PortInUse: somebody has the port.
    """
    with _stop_signals() as stopped, Exporter(find, host=host, port=port) as exporter:
        thread = threading.Thread(target=exporter.serve_forever, name="exporter")
        thread.start()
        sys.stderr.write(f"{exporter.url}/metrics and {exporter.url}/health; Ctrl-C to stop\n")
        stopped.wait()
        exporter.shutdown()
        thread.join()
    return EXIT_OK


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stopped = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stopped.set()) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Exporter
    timeout = _CLIENT_TIMEOUT_S
    server_version, sys_version = "mixvllm", ""

    def do_GET(self) -> None:
        """Answer one of the two paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(200, exposition(self.server.snapshots()), CONTENT_TYPE_PLAIN_0_0_4)
        elif path == "/health":
            is_well, words = health(self.server.snapshots())
            self._send_json(200 if is_well else 503, words)
        else:
            self._send_json(404, {"paths": ["/metrics", "/health"]})

    do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    def log_message(self, *_: object) -> None:
        """Say nothing of each request: Prometheus comes every few seconds, for ever."""

    def _send_json(self, status: int, words: object) -> None:
        self._send(status, json.dumps(words, ensure_ascii=False).encode() + b"\n", "application/json")

    def _send(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
