"""How to use a server, as text for pasting."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mixvllm.server.key import KeyPointer


@dataclass(frozen=True)
class Reach:
    """What it takes to ask a server.

    Args:
        url: `http://host:port`.
        model: the name to ask for.
        is_pooling: whether it embeds rather than generates.
        key: where its key is; None where it needs none.
    """

    url: str
    model: str
    is_pooling: bool
    key: KeyPointer | None


def curl_line(reach: Reach) -> str:
    """Return a command that asks for one answer; lines fit a narrow terminal."""
    path, body = _example(reach)
    parts = [
        f"curl {reach.url}{path}",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer {reach.key.shell}"'] if reach.key else []),
        f"-d '{json.dumps(body, separators=(',', ':'))}'",
    ]
    return " \\\n  ".join(parts)


def python_snippet(reach: Reach) -> str:
    """Return a program that asks through the OpenAI client; lines fit a narrow terminal."""
    _, body = _example(reach)
    call, result = (
        ("embeddings.create", "data[0].embedding[:4]")
        if reach.is_pooling
        else ("chat.completions.create", "choices[0].message.content")
    )
    key = reach.key.python if reach.key else '"none"'
    return "\n".join(
        [
            *(["import os"] if key.startswith("os.") else []),
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{reach.url}/v1", api_key={key})',
            f"answer = client.{call}(",
            *(f"    {name}={json.dumps(value)}," for name, value in body.items()),
            ")",
            f"print(answer.{result})",
        ]
    )


def _example(reach: Reach) -> tuple[str, dict[str, Any]]:
    if reach.is_pooling:
        return "/v1/embeddings", {"model": reach.model, "input": "Hello!"}
    return "/v1/chat/completions", {
        "model": reach.model,
        "messages": [{"role": "user", "content": "Who are you?"}],
    }
