"""The options of `vllm bench serve`: what each takes, and which of them the launcher sets itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mixvllm.config import keys
from mixvllm.config.faults import show_value
from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.config.schema import ExperimentConfig
from mixvllm.config.schema.fields import human_int_value
from mixvllm.config.schema.workload import BENCH_OPTION, WorkloadConfig
from mixvllm.errors import Fault
from mixvllm.vllm.arguments import Release, read_release
from mixvllm.workload.bench.expected import least_tokens

_SNAPSHOT = Path(__file__).parent / "data" / f"vllm-bench-{SUPPORTED_RELEASE}.json"

_TAKEN = {
    "model": "model.served_model_name",
    "served_model_name": "model.served_model_name",
    "tokenizer": "model.tokenizer",
    "tokenizer_mode": "model.tokenizer_mode",
    "trust_remote_code": "model.trust_remote_code",
    "host": "server.host",
    "port": "server.port",
    "base_url": "server.port",
    **{name: f"generation.{name}" for name in ("temperature", "top_p", "top_k", "min_p")},
    **{name: f"generation.{name}" for name in ("presence_penalty", "frequency_penalty", "repetition_penalty")},
}
"""Options that follow from the server, and the key that decides them."""

_REFUSED = {
    "header": "would be seen by everybody on this machine: the key of the server goes by the environment",
    **dict.fromkeys(
        ("save_result", "save_detailed", "append_result", "result_dir", "result_filename", "disable_tqdm", "insecure"),
        "is set by the launcher",
    ),
}


@cache
def bench_options() -> Release:
    """Return the options of the supported release, as shipped."""
    return read_release(json.loads(_SNAPSHOT.read_text(encoding="utf-8")), is_snapshot=True)


def typed_options() -> tuple[str, ...]:
    """Return the names of the options that have a key of their own, in the schema's order."""
    return tuple(name for name, field in WorkloadConfig.model_fields.items() if BENCH_OPTION in field.metadata)


def check_bench_options(config: ExperimentConfig, release: str) -> list[Fault]:
    """Return a fault for every option without a key of its own that `vllm bench serve` would not take, and for a load
    of which no request fits into the model's context.

    Of another release than the supported one only what the launcher sets itself is known here; its own parser refuses
    the rest when it is run.

    Args:
        config: validated.
        release: version of the vLLM that will run.
    """
    return [*_faults(config, is_known=release == SUPPORTED_RELEASE), *_requests_fit(config)]


def _faults(config: ExperimentConfig, *, is_known: bool) -> Iterator[Fault]:
    for name, value in config.workload.extra_args.items():
        problem = _problem(name, value, is_known)
        if problem is not None:
            yield Fault(f"workload.{name}", problem, show_value(value) if name != "header" else None)


def _requests_fit(config: ExperimentConfig) -> Iterator[Fault]:
    """vLLM answers a request that is longer than its context with an error, and so all of a load."""
    length, tokens = config.inference.max_model_len, least_tokens(config.workload)
    is_number = length not in (None, -1, "auto")
    declared = None if config.inference.hf_overrides else config.model.context_length
    context = human_int_value(length) if is_number and length is not None else declared
    if tokens is not None and context is not None and tokens > context:
        key = f"inference.max_model_len={length}" if is_number else f"model.context_length={context}"
        words = f"each request takes {tokens} tokens or more with its answer, and {key} is less: make prompts"
        yield Fault("workload", f"{words} (workload.random_input_len) or answers (workload.random_output_len) shorter")


def _problem(name: str, value: object, is_known: bool) -> str | None:
    option = bench_options().find(name)
    if option is None:
        return _unknown(name) if is_known else None
    if option.name in _REFUSED:
        return _REFUSED[option.name]
    key = _TAKEN.get(option.name) or (f"workload.{option.name}" if option.name in typed_options() else None)
    if key is not None:
        return f"has a key of its own: {key}"
    return option.problem_with(value) if is_known else None


def _unknown(name: str) -> str:
    near = keys.nearest(name, bench_options().arguments)
    hint = f"; did you mean {_TAKEN.get(near, near)}?" if near else ""
    return f"is not an option of vllm bench serve {SUPPORTED_RELEASE}{hint}"
