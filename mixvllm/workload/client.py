"""What a client program needs to talk to one server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from mixvllm.server.server import Server

CLIENT_KEY_VARIABLE = "OPENAI_API_KEY"
"""Variable that clients of the OpenAI API take their key from; it never goes into argv, which everybody can read."""


def client_environment(server: Server, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what a client of `server` needs over `inherited`: its key, and that no proxy comes between them."""
    host = urlsplit(server.url).hostname or server.address.host
    known = inherited.get("no_proxy") or inherited.get("NO_PROXY")
    direct = f"{known},{host}" if known else host
    key = server.address.key
    return {"no_proxy": direct, "NO_PROXY": direct, **({CLIENT_KEY_VARIABLE: key.value} if key else {})}
