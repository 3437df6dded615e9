"""HTTP servers that are not ours, on ports that ours want."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    """Answers every path with 200 and a list of models."""

    protocol_version = "HTTP/1.1"
    server: _Stranger

    def do_GET(self) -> None:
        body = json.dumps({"object": "list", "data": [{"id": self.server.model}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Stranger(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    model = "a/stranger"

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


@contextmanager
def stranger(port: int, model: str = "a/stranger") -> Iterator[int]:
    """Serve `model` on `port` (0 = any) and give the port; it may be shared with others that allow it too."""
    server = _Stranger(("127.0.0.1", port), _Handler)
    server.model = model
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def listener(port: int) -> Iterator[None]:
    """Listen on `port`, and answer nobody."""
    with socket.socket() as quiet:
        quiet.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        quiet.bind(("127.0.0.1", port))
        quiet.listen()
        yield
