"""The options with which `vllm bench serve` does one repeat of a workload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig, ModelConfig
from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.vllm.command import render
from mixvllm.workload.bench.options import bench_options, typed_options
from mixvllm.workload.measurement import seed_of

_ENDPOINTS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "openai-audio": "/v1/audio/transcriptions",
    "openai-embeddings": "/v1/embeddings",
    "openai-embeddings-chat": "/v1/embeddings",
    "openai-embeddings-clip": "/v1/embeddings",
    "openai-embeddings-vlm2vec": "/v1/embeddings",
    "infinity-embeddings": "/embeddings",
    "infinity-embeddings-clip": "/embeddings",
    "vllm-pooling": "/pooling",
    "vllm-rerank": "/v1/rerank",
}
"""Paths of the backends that do not take vLLM's default, /v1/completions, as a vLLM server has them."""


def build_bench_command(config: ExperimentConfig, *, url: str, tokenizer: str, repeat: int, result: Path) -> list[str]:
    """Return the options of `vllm bench serve` for one repeat.

    Pure. The server's key is not in it: it goes by OPENAI_API_KEY. Each repeat has its own seed, so that none finds
    the prompts of the one before in a cache.

    Args:
        config: validated.
        url: of the server, without `/v1`.
        tokenizer: path or hub id.
        repeat: counted from 0.
        result: file that the numbers are written to.

    Returns:
        Arguments, shape (n,), without `vllm bench serve` itself.
    """
    model, workload = config.model, config.workload
    return [
        *_given("base_url", url),
        *_given("model", model.served_names[0]),
        *_given("tokenizer", tokenizer),
        *_given("tokenizer_mode", model.tokenizer_mode),
        *_given("trust_remote_code", _may_run_code(model, tokenizer)),
        *_given("insecure", url.startswith("https")),  # the certificate is the server's own, which we started
        *_load(workload, repeat),
        *_sampling(config),
        *_given("disable_tqdm", True),
        *_given("save_result", True),
        *_given("save_detailed", True),
        *_given("result_dir", str(result.parent)),
        *_given("result_filename", result.name),
    ]


def _may_run_code(model: ModelConfig, tokenizer: str) -> bool:
    """Whether a tokenizer may run code of its repository: `vllm bench serve` cannot be told the accepted revision."""
    is_pinned = Path(tokenizer).is_absolute()
    return bool(model.trust_remote_code) and (is_pinned or model.trust_unpinned_code)


def _load(workload: WorkloadConfig, repeat: int) -> Iterator[str]:
    values = {name: getattr(workload, name) for name in typed_options()}
    values["seed"] = seed_of(workload, repeat)
    values["endpoint"] = workload.endpoint or _ENDPOINTS.get(workload.backend or "openai")
    for name, value in {**values, **workload.extra_args}.items():
        yield from _given(name, _as_vllm_has_it(name, value))


def _sampling(config: ExperimentConfig) -> Iterator[str]:
    """Yield the sampling values that go with each request; a field of `extra_body` stands over them."""
    for name, value in config.generation.server_defaults().items():
        yield from _given(name, value)


def _as_vllm_has_it(name: str, value: Any) -> Any:
    if isinstance(value, float):
        return _number(value)
    if name in ("percentile_metrics", "metric_percentiles") and isinstance(value, list):
        return ",".join(_number(one) if isinstance(one, float) else one for one in value)
    if name == "goodput" and isinstance(value, dict):
        return [f"{latency}:{_number(limit_ms)}" for latency, limit_ms in value.items()]
    if name == "random_range_ratio" and isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    return value


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _given(name: str, value: Any) -> list[str]:
    option = bench_options().find(name)
    if option is not None:
        return option.render(value)
    return [] if value is False else render(name, value)
