"""The few requests that tell whether a server is ready, and is ours."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from mixvllm.errors import ServerForeign, ServerNotReady

if TYPE_CHECKING:
    import httpx

_SHORT_TIMEOUT_S = 5.0


class ServerClient:
    """Talks to one server, without the proxies of the environment, which must not see loopback traffic.

    Certificates are not verified: the server was started by us on this machine, and shows that by its identity.

    Args:
        url: `http://host:port`, without `/v1`.
        key: sent with each request; None where the server needs none.
    """

    def __init__(self, url: str, key: str | None) -> None:
        import httpx  # when the server is already starting, which takes longer than this import

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._no_answer = httpx.HTTPError
        self._errors = (httpx.HTTPError, ValueError, KeyError, TypeError)
        self._address = (httpx.URL(url).host, httpx.URL(url).port or 0)
        options: dict[str, Any] = {"trust_env": False, "verify": False, "timeout": _SHORT_TIMEOUT_S}
        self._connect = partial(httpx.Client, headers=headers, **options)
        self._http = self._connect(base_url=url)
        self._replicas: list[httpx.Client] = []

    def know_replicas(self, urls: Iterable[str]) -> None:
        """Take where the servers answer that are behind a router at `url`; once they are known, nothing changes."""
        self._replicas = self._replicas or [self._connect(base_url=url) for url in urls]

    @property
    def _engines(self) -> list[httpx.Client]:
        """Every server itself, past a router."""
        return self._replicas or [self._http]

    def close(self) -> None:
        """Close connections; a request that is under way in another thread fails."""
        for client in (self._http, *self._replicas):
            client.close()

    def health(self) -> int | None:
        """Return the status of `/health`: 200, 503 where the engine is dead; None where nothing answers.

        Asked many times while nothing listens yet, which a bare connection tells for a hundredth of a request's cost.
        """
        try:
            with socket.create_connection(self._address, timeout=_SHORT_TIMEOUT_S):
                pass
            return self._http.get("/health").status_code
        except (OSError, *self._errors):
            return None

    def engines_are_healthy(self) -> bool:
        """Whether each replica answers `/health` well."""
        try:
            return all(client.get("/health").status_code == 200 for client in self._engines)
        except self._errors:
            return False

    def metrics(self) -> str | None:
        """Return the text of `/metrics`, of all replicas where there are some; None where one of them gives none."""
        texts = [self._metrics_of(client) for client in self._engines]
        if len(texts) == 1:
            return texts[0]
        given = [_numbered(text, number) for number, text in enumerate(texts) if text is not None]
        return "\n".join(given) if len(given) == len(texts) else None

    def _metrics_of(self, client: httpx.Client) -> str | None:
        try:
            answer = client.get("/metrics")
        except self._errors:
            return None
        return answer.text if answer.status_code == 200 else None

    def check_identity(self, identity: str) -> None:
        """Raise `ServerForeign` where the server does not serve the name `identity`, `ServerNotReady` for no answer."""
        if not self.has_identity(identity):
            raise ServerNotReady(f"no answer from {self._http.base_url}/v1/models")

    def has_identity(self, identity: str) -> bool:
        """Return whether the server answers, and serves the name `identity`, which only ours does.

        Asks on a connection of its own: of several listeners on one port (SO_REUSEPORT) each one gets some.

        Raises:
            ServerForeign: it answers, and does not serve that name.
        """
        try:
            answer = self._http.get("/v1/models", headers={"Connection": "close"})
            if answer.status_code >= 500:  # also one of ours whose engine dies at this moment
                return False
            names = [entry["id"] for entry in answer.json()["data"]] if answer.status_code == 200 else []
        except self._no_answer:
            return False
        except self._errors:
            names = []
        if identity not in names:
            raise ServerForeign(
                f"another server answers at {self._http.base_url}: it serves {names or 'no models'}, not ours\n"
                "  next: stop it, or choose another port: server.port=auto"
            )
        return True

    def check_token(self, model: str, *, is_pooling: bool, timeout_s: float) -> None:
        """Raise `ServerNotReady` where an engine does not produce one real token (or embedding) in `timeout_s`."""
        for client in self._engines:
            self._check_token_of(client, model, is_pooling=is_pooling, timeout_s=timeout_s)

    def _check_token_of(self, client: httpx.Client, model: str, *, is_pooling: bool, timeout_s: float) -> None:
        body: dict[str, Any]
        if is_pooling:
            path, body = "/v1/embeddings", {"model": model, "input": "Hello"}
        else:
            path, body = "/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        try:
            answer = client.post(path, json=body, timeout=timeout_s)
            if answer.status_code == 200 and _has_output(answer.json(), is_pooling):
                return
            reason = f"HTTP {answer.status_code}: {answer.text[:300]}"
        except self._errors as error:
            reason = f"{type(error).__name__}: {error}"
        raise ServerNotReady(f"/health answers, but the first request failed: {reason}")

    def complete(self, path: str, body: dict[str, Any], timeout_s: float) -> httpx.Response:
        """Send one request of the OpenAI API and return the answer, whatever its status.

        Raises:
            httpx.HTTPError: no answer in `timeout_s`.
        """
        return self._http.post(path, json=body, timeout=timeout_s)

    def post_to_each(self, path: str, timeout_s: float) -> list[httpx.Response]:
        """Send an empty request to each engine, past a router; return the answers, whatever their status.

        Raises:
            httpx.HTTPError: one of them gives no answer in `timeout_s`.
        """
        return [client.post(path, json={}, timeout=timeout_s) for client in self._engines]


def _numbered(text: str, replica: int) -> str:
    """Return metrics whose engines are told apart from those of other replicas, all of which begin at 0."""
    return text.replace('engine="', f'engine="{replica}.')


def _has_output(answer: dict[str, Any], is_pooling: bool) -> bool:
    if is_pooling:
        return len(answer["data"][0]["embedding"]) > 0
    return int(answer["usage"]["completion_tokens"]) > 0
