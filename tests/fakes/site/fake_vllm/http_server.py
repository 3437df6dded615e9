"""HTTP as uvicorn speaks it: the bound socket, the key check, whole answers and event streams."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fake_vllm.log_lines import write_uvicorn
from fake_vllm.openai_bodies import Body, word_error
from fake_vllm.routes import ROUTES, Route
from fake_vllm.service import Service

# The real key check covers these prefixes and nothing else.
_GUARDED = ("/v1", "/v2", "/inference", "/cohere")


class HttpServer(ThreadingHTTPServer):
    """Serves on a socket that was bound long before, as vLLM does; `server_activate` listens."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, bound_socket: socket.socket, service: Service) -> None:
        super().__init__(bound_socket.getsockname()[:2], RequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound_socket
        self.service = service

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that went away."""


class RequestHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "uvicorn", ""
    disable_nagle_algorithm = True
    server: HttpServer

    def do_GET(self) -> None:
        """Answer from the table of GET routes."""
        self._answer(ROUTES["GET"])

    def do_POST(self) -> None:
        """Answer from the table of POST routes."""
        self._answer(ROUTES["POST"])

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Write the access line of uvicorn."""
        client = ":".join(map(str, self.client_address[:2]))
        write_uvicorn(f'{client} - "{self.requestline}" {int(code)} {self.responses[int(code)][0]}')

    @property
    def service(self) -> Service:
        """What the server shares between requests."""
        return self.server.service

    def _answer(self, routes: dict[str, Route]) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if not self._is_allowed(path):
            self.send_json(401, {"error": "Unauthorized"})
        elif path not in routes:
            self.send_json(404, {"detail": "Not Found"})
        else:
            self._answer_route(routes[path], path, content)

    def _is_allowed(self, path: str) -> bool:
        keys = self.service.arguments.api_keys
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return not (keys and path.startswith(_GUARDED)) or (scheme.lower() == "bearer" and token in keys)

    def _answer_route(self, route: Route, path: str, content: bytes) -> None:
        try:
            body = json.loads(content or b"{}")
        except ValueError as error:
            self.send_json(400, word_error(f"invalid JSON: {error}", "Bad Request", 400))
            return
        if self.command == "POST":
            self.service.requests.append({"path": path, "body": body})
        route(self, body)

    def send_json(self, status: int, body: Body) -> None:
        """Send a whole JSON answer."""
        self.send_content(status, json.dumps(body), "application/json")

    def send_content(self, status: int, content: str, content_type: str = "text/plain; charset=utf-8") -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    @contextlib.contextmanager
    def open_stream(self) -> Iterator[Callable[[Body], None]]:
        """Yield what sends one server-sent event; the stream ends with `[DONE]`, also after an error."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        yield lambda body: self._send_event(json.dumps(body))
        self._send_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _send_event(self, text: str) -> None:
        event = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
