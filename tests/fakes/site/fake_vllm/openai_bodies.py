"""JSON bodies as the real server words them."""

import itertools
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]

DEFAULT_MAX_TOKENS = 16
_WORDS = ("This", "is", "the", "fake", "vllm", "speaking.")
_NUM_EMBEDDING_DIMENSIONS = 8


@dataclass(frozen=True)
class CompletionWording:
    """The bodies of one answer to /v1/completions."""

    model: str
    id: str = field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def word_whole(self, text: str, usage: Body) -> Body:
        """Return the body of an answer that is not streamed."""
        return self._word("text_completion", [{"index": 0, "text": text} | _finish("length")], usage=usage)

    def word_chunk(self, text: str, finish_reason: str | None) -> Body:
        """Return one event of a stream."""
        return self._word("text_completion", [{"index": 0, "text": text} | _finish(finish_reason)])

    def word_opening(self) -> Body | None:
        """Return the event before the first token, if there is one."""
        return None

    def word_usage(self, usage: Body) -> Body:
        """Return the last event of a stream that was asked for its usage."""
        return self._word("text_completion", [], usage=usage)

    def _word(self, kind: str, choices: list[Body], **more: Body) -> Body:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices} | more


@dataclass(frozen=True)
class ChatWording(CompletionWording):
    """The bodies of one answer to /v1/chat/completions."""

    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")

    def word_whole(self, text: str, usage: Body) -> Body:
        """As for a completion, with a message."""
        message = {"role": "assistant", "content": text, "tool_calls": []}
        return self._word("chat.completion", [{"index": 0, "message": message} | _finish("length")], usage=usage)

    def word_chunk(self, text: str, finish_reason: str | None) -> Body:
        """As for a completion, with a delta."""
        return self._word_delta({"content": text}, finish_reason)

    def word_opening(self) -> Body | None:
        """Return the event that names the role."""
        return self._word_delta({"role": "assistant", "content": ""}, None)

    def word_usage(self, usage: Body) -> Body:
        """As for a completion."""
        return self._word("chat.completion.chunk", [], usage=usage)

    def _word_delta(self, delta: Body, finish_reason: str | None) -> Body:
        return self._word("chat.completion.chunk", [{"index": 0, "delta": delta} | _finish(finish_reason)])


def _finish(reason: str | None) -> Body:
    return {"logprobs": None, "finish_reason": reason}


def word_models(names: tuple[str, ...], root: str, max_model_len: int) -> Body:
    """Return the body of /v1/models."""
    common = {"object": "model", "created": int(time.time()), "owned_by": "vllm", "root": root, "parent": None}
    models = [{"id": name, **common, "max_model_len": max_model_len, "permission": []} for name in names]
    return {"object": "list", "data": models}


def word_error(message: str, kind: str, code: int) -> Body:
    """Return the body of a failed request."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def word_engine_dead() -> Body:
    """Return the body of a request that the engine did not survive."""
    message = "EngineCore encountered an issue. See stack trace (above) for the root cause."
    return word_error(message, "InternalServerError", 500)


def word_usage(num_prompt_tokens: int, num_completion_tokens: int) -> Body:
    """Return the token counts of one answer."""
    return {
        "prompt_tokens": num_prompt_tokens,
        "total_tokens": num_prompt_tokens + num_completion_tokens,
        "completion_tokens": num_completion_tokens,
        "prompt_tokens_details": None,
    }


def word_embeddings(model: str, inputs: list[Any]) -> Body:
    """Return the body of /v1/embeddings: for each input a vector that only depends on its number of tokens."""
    data = [
        {"index": index, "object": "embedding", "embedding": [count_tokens(text) / 100] * _NUM_EMBEDDING_DIMENSIONS}
        for index, text in enumerate(inputs)
    ]
    usage = word_usage(sum(map(count_tokens, inputs)), 0)
    return {"id": f"embd-{uuid.uuid4().hex}", "object": "list", "model": model, "data": data, "usage": usage}


def iterate_tokens(num_tokens: int) -> Iterator[str]:
    """Yield the answer's tokens: words with a space after each."""
    return (f"{word} " for word in itertools.islice(itertools.cycle(_WORDS), num_tokens))


def count_tokens(prompt: object) -> int:
    """Return the tokens of a prompt: words of a text, ids of a list, and both in the contents of messages."""
    if isinstance(prompt, str):
        return len(prompt.split())
    if isinstance(prompt, dict):
        return count_tokens(prompt.get("content") or prompt.get("text"))
    if isinstance(prompt, list):
        return sum(1 if isinstance(part, int) else count_tokens(part) for part in prompt)
    return 0
