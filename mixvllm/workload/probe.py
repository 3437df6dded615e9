"""The workload `probe`: one question, one answer, which shows that a configuration works."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import Interrupted, WorkloadFailed
from mixvllm.server.server import Server

_TICK_S = 0.05
_MAX_TOKENS = 256  # where generation.max_tokens is null: an answer that can be read, also from a model that never ends


def probe(config: ExperimentConfig, server: Server, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Ask the prompt of `config` once; return prompt, answer, token counts and latency.

    The chat API is used where the model has a chat template, else plain completion; a pooling model embeds the prompt.

    Raises:
        ServerFailed: the server failed meanwhile.
        WorkloadFailed: no good answer.
        Interrupted: `should_stop` said so first.
    """
    background = ThreadPoolExecutor(max_workers=1, thread_name_prefix="probe")
    try:
        answer = background.submit(_ask, config, server)
        _watch(answer, server, should_stop)
        return answer.result()
    finally:
        background.shutdown(wait=False)  # a request that is left ends with its server


def _watch(answer: Future[dict[str, Any]], server: Server, should_stop: Callable[[], bool]) -> None:
    while not answer.done():
        server.check()
        if should_stop():
            raise Interrupted("stopped before the probe had its answer")
        time.sleep(_TICK_S)


def _ask(config: ExperimentConfig, server: Server) -> dict[str, Any]:
    began = time.monotonic()
    if config.model.runner == "pooling":
        figures = _embed(config, server)
    else:
        figures = _chat(config, server) or _complete(config, server)
    return {"prompt": config.workload.prompt, **figures, "latency_ms": round((time.monotonic() - began) * 1e3, 1)}


def _chat(config: ExperimentConfig, server: Server) -> dict[str, Any] | None:
    """Return the answer of the chat API; None where the model has no chat template."""
    messages = [{"role": "user", "content": config.workload.prompt}]
    answer = _post(config, server, "/v1/chat/completions", {"messages": messages, **_sampling(config)})
    if answer.status_code == 400 and "chat template" in answer.text:
        return None
    choice = _choice(answer)
    message = choice["message"]
    return {"answer": message.get("content") or message.get("reasoning") or "", **_counts(answer, choice)}


def _complete(config: ExperimentConfig, server: Server) -> dict[str, Any]:
    answer = _post(config, server, "/v1/completions", {"prompt": config.workload.prompt, **_sampling(config)})
    choice = _choice(answer)
    return {"answer": choice["text"], **_counts(answer, choice)}


def _embed(config: ExperimentConfig, server: Server) -> dict[str, Any]:
    answer = _post(config, server, "/v1/embeddings", {"input": config.workload.prompt})
    if answer.status_code != 200:
        raise WorkloadFailed(_refused(answer))
    vector = answer.json()["data"][0]["embedding"]
    return {"answer": f"an embedding of {len(vector)} numbers", "num_dimensions": len(vector)}


def _post(config: ExperimentConfig, server: Server, path: str, body: dict[str, Any]) -> httpx.Response:
    timeout_s = config.workload.request_timeout_s
    try:
        return server.client.complete(path, {"model": server.model_name, **body}, timeout_s)
    except httpx.TimeoutException as error:
        raise WorkloadFailed(
            f"no answer from {path} in {timeout_s:g} s\n"
            f"  next: raise workload.request_timeout_s, or look at {server.log_path}"
        ) from error
    except httpx.HTTPError as error:
        raise WorkloadFailed(f"{path}: {type(error).__name__}: {error}\n  next: look at {server.log_path}") from error


def _sampling(config: ExperimentConfig) -> dict[str, Any]:
    return {"max_tokens": _MAX_TOKENS, **config.generation.request_fields()}


def _choice(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise WorkloadFailed(_refused(answer))
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def _counts(answer: httpx.Response, choice: dict[str, Any]) -> dict[str, Any]:
    usage = answer.json()["usage"]
    if not usage["completion_tokens"]:
        raise WorkloadFailed("the server answered without a single token\n  next: try another workload.prompt")
    return {
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "finish_reason": choice["finish_reason"],
    }


def _refused(answer: httpx.Response) -> str:
    return f"{answer.request.url.path} answered HTTP {answer.status_code}: {answer.text[:300]}"
