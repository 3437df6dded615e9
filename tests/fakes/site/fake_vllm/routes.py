"""The endpoints of the real server, and /fake/requests, which a test reads back."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fake_vllm import VERSION, openai_bodies
from fake_vllm.engine_client import EngineDeadError
from fake_vllm.log_lines import format_engine_dead, format_traceback, write_log, write_uvicorn
from fake_vllm.openai_bodies import Body, ChatWording, CompletionWording
from fake_vllm.service import Service

if TYPE_CHECKING:
    from fake_vllm.http_server import RequestHandler

Route = Callable[["RequestHandler", Body], None]


def _answer_health(request: "RequestHandler", _: Body) -> None:
    request.send_content(200 if request.service.is_healthy else 503, "")


def _answer_models(request: "RequestHandler", _: Body) -> None:
    arguments = request.service.arguments
    request.send_json(200, openai_bodies.word_models(request.service.names, arguments.model, arguments.max_model_len))


def _answer_metrics(request: "RequestHandler", _: Body) -> None:
    service = request.service
    metrics = service.load.format_metrics(service.names[0])
    request.send_content(200, metrics, "text/plain; version=1.0.0; charset=utf-8")


def _answer_cache_reset(request: "RequestHandler", _: Body) -> None:
    """Reset a cache: one of the endpoints that exist in development mode only."""
    if os.environ.get("VLLM_SERVER_DEV_MODE") != "1":
        request.send_json(404, {"detail": "Not Found"})
        return
    request.send_json(200, {"success": request.service.script.reset_success})


def _answer_embeddings(request: "RequestHandler", body: Body) -> None:
    given = body.get("input", "")
    is_one = isinstance(given, str) or (isinstance(given, list) and all(isinstance(token, int) for token in given))
    request.send_json(200, openai_bodies.word_embeddings(request.service.names[0], [given] if is_one else given))


def _answer_completion(request: "RequestHandler", body: Body) -> None:
    _complete(request, body, CompletionWording, body.get("max_tokens"))


def _answer_chat(request: "RequestHandler", body: Body) -> None:
    _complete(request, body, ChatWording, body.get("max_completion_tokens") or body.get("max_tokens"))


def _complete(
    request: "RequestHandler", body: Body, wording_type: type[CompletionWording], max_tokens: int | None
) -> None:
    """Answer a completion of either kind, unless the request or the script stands against it."""
    service = request.service
    num_prompt_tokens = openai_bodies.count_tokens(body.get("prompt") or body.get("messages"))
    num_tokens = openai_bodies.DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens
    refusal = _find_refusal(service, body, num_prompt_tokens + num_tokens) or _find_scripted_failure(service)
    if refusal is not None:
        request.send_json(*refusal)
    elif service.load.is_draining:
        _fail_while_draining(request)
    else:
        if service.script.empty_completion:
            num_tokens = 0
        wording = wording_type(model=body.get("model") or service.names[0])
        send = _send_stream if body.get("stream") else _send_whole
        with service.load.admit():
            send(request, wording, body, num_tokens, num_prompt_tokens)


def _find_refusal(service: Service, body: Body, num_tokens: int) -> tuple[int, Body] | None:
    model, max_model_len = body.get("model"), service.arguments.max_model_len
    if model and model not in service.names:
        return 404, openai_bodies.word_error(f"The model `{model}` does not exist.", "NotFoundError", 404)
    if num_tokens > max_model_len:
        message = f"This model's maximum context length is {max_model_len} tokens. However, you need {num_tokens}."
        return 400, openai_bodies.word_error(message, "BadRequestError", 400)
    return None


def _find_scripted_failure(service: Service) -> tuple[int, Body] | None:
    number = service.load.count(completions=1)
    status = service.script.completions_status
    if status != 200:
        return status, openai_bodies.word_error("scripted failure", "InternalServerError", status)
    if number == service.script.die_on_request:
        with contextlib.suppress(EngineDeadError):
            service.engine.crash()
        return 500, openai_bodies.word_engine_dead()
    return None


def _fail_while_draining(request: "RequestHandler") -> None:
    """Answer as the real server does between SIGTERM and its exit."""
    frames = ["entrypoints/openai/completion/api_router.py:55 create_completion", "renderers/base.py:94 submit"]
    write_uvicorn("Exception in ASGI application", level="ERROR")
    write_log(format_traceback(frames, "RuntimeError: cannot schedule new futures after shutdown") + "\n")
    request.send_content(500, "Internal Server Error")


def _send_whole(
    request: "RequestHandler", wording: CompletionWording, _: Body, num_tokens: int, num_prompt_tokens: int
) -> None:
    try:
        text = "".join(request.service.generate(num_tokens, num_prompt_tokens))
    except EngineDeadError:
        request.send_json(500, openai_bodies.word_engine_dead())
        return
    request.service.load.count(succeeded=1)
    request.send_json(200, wording.word_whole(text, openai_bodies.word_usage(num_prompt_tokens, num_tokens)))


def _send_stream(
    request: "RequestHandler", wording: CompletionWording, body: Body, num_tokens: int, num_prompt_tokens: int
) -> None:
    tokens = request.service.generate(num_tokens, num_prompt_tokens)
    options: dict[str, Any] = body.get("stream_options") or {}
    with contextlib.closing(tokens), request.open_stream() as send_event:
        try:
            for event in _iterate_events(wording, tokens, num_tokens):
                send_event(event)
        except EngineDeadError:
            request.service.log.write_error(
                "serving.py:500", f"Error in completion stream generator.\n{format_engine_dead()}"
            )
            send_event(openai_bodies.word_engine_dead())
            return
        request.service.load.count(succeeded=1)
        if options.get("include_usage"):
            send_event(wording.word_usage(openai_bodies.word_usage(num_prompt_tokens, num_tokens)))


def _iterate_events(wording: CompletionWording, tokens: Iterator[str], num_tokens: int) -> Iterator[Body]:
    opening = wording.word_opening()
    if opening is not None:
        yield opening
    for number, token in enumerate(tokens, start=1):
        yield wording.word_chunk(token, "length" if number == num_tokens else None)
    if not num_tokens:
        yield wording.word_chunk("", "length")


ROUTES: dict[str, dict[str, Route]] = {
    "GET": {
        "/health": _answer_health,
        "/ping": _answer_health,
        "/load": lambda request, _: request.send_json(200, {"server_load": 0}),
        "/version": lambda request, _: request.send_json(200, {"version": VERSION}),
        "/metrics": _answer_metrics,
        "/v1/models": _answer_models,
        "/fake/requests": lambda request, _: request.send_json(200, {"requests": list(request.service.requests)}),
    },
    "POST": {
        "/ping": _answer_health,
        "/v1/completions": _answer_completion,
        "/v1/chat/completions": _answer_chat,
        "/v1/embeddings": _answer_embeddings,
        "/reset_prefix_cache": _answer_cache_reset,
        "/reset_mm_cache": _answer_cache_reset,
        "/reset_encoder_cache": _answer_cache_reset,
    },
}
