"""What a key keeps others from, route by route: a release of vLLM that changes it is noticed here."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.engine.conftest import LaunchDemo

UNLISTED = ("GET /docs", "GET /redoc", "GET /openapi.json", "GET /metrics")
"""Routes that the server's own list leaves out."""

OPEN = {
    "GET /docs",
    "GET /health",
    "GET /kv_event_sources",
    "GET /load",
    "GET /metrics",
    "GET /openapi.json",
    "GET /ping",
    "GET /redoc",
    "GET /version",
    "POST /detokenize",
    "POST /generative_scoring",
    "POST /invocations",
    "POST /is_scaling_elastic_ep",
    "POST /ping",
    "POST /scale_elastic_ep",
    "POST /tokenize",
}
"""Routes that answer without the key: vLLM 0.32, a model that generates, nothing switched on."""

SPELLINGS = (
    "/v1/models",
    "//v1/models",
    "/./v1/models",
    "/x/../v1/models",
    "/%76%31/models",
    "/v1%2fmodels",
    "/V1/models",
    "/v1/models/",
    "/;/v1/models",
    "/ping/../v1/models",
    "http://localhost/v1/models",
    "http://localhost//v1/models",
)
HOSTS = ("localhost", "localhost/ping?", "localhost/ping#", "x@localhost", "localhost:80/health")


@pytest.fixture(scope="module")
def url(launch_demo: LaunchDemo) -> str:
    """A server that asks for a key."""
    return launch_demo("server.api_key=generate").wait_ready()


@pytest.fixture(scope="module")
def answers(url: str) -> dict[str, int]:
    """The status of the answer to each route, asked without a key and without a body."""
    paths = httpx.get(f"{url}/openapi.json", timeout=30, trust_env=False).json()["paths"]
    listed = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    return {route: ask(url, *route.split(" ")) for route in [*listed, *UNLISTED]}


def ask(url: str, method: str, path: str) -> int:
    address = url + path.replace("{", "").replace("}", "")
    return httpx.request(method, address, timeout=30, trust_env=False).status_code


def say(url: str, target: str, host: str) -> bytes:
    """Return the answer to a request for `target`, spelt exactly so, without a key."""
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=30) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_the_routes_that_answer_without_the_key_are_those_that_are_known(answers: dict[str, int]) -> None:
    assert {route for route, status in answers.items() if status != 401} == OPEN


def test_every_route_of_the_openai_api_asks_for_the_key(answers: dict[str, int]) -> None:
    statuses = {status for route, status in answers.items() if " /v1/" in route}

    assert statuses == {401}


def test_one_of_the_open_routes_answers_questions(url: str) -> None:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 4}

    answer = httpx.post(f"{url}/invocations", json=body, timeout=60, trust_env=False)

    assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 4)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("target", SPELLINGS)
def test_no_other_spelling_of_a_guarded_route_gets_past_the_key(url: str, target: str, host: str) -> None:
    answer = say(url, target, host)

    assert (b'"data"' in answer, answer.split()[1] == b"200") == (False, False)
