"""What a load must yield if all goes well: requests, tokens, and what the prefix cache may find."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.config.schema.workload import WorkloadConfig

_DEFAULT_NUM_PROMPTS = 1000
_SLACK_TOKENS = 4  # special tokens, and texts that are not read back into the tokens that they were made of
_SLACK_FRACTION = 0.02


@dataclass(frozen=True)
class Tokens:
    """How many tokens a request may have, both ends included."""

    least: float
    most: float


@dataclass(frozen=True)
class Expected:
    """What is known beforehand. None where it is not, as with a dataset of the user's.

    Args:
        num_requests: that must be answered.
        output: tokens of each answer.
        inputs: mean tokens of a prompt, over all requests.
        prefix_hit_fraction: of the prompts' tokens, that the prefix cache may find at the most.
    """

    num_requests: int
    output: Tokens | None
    inputs: Tokens | None
    prefix_hit_fraction: float | None


def expected_of(workload: WorkloadConfig, result: Mapping[str, Any]) -> Expected:
    """Return what `workload` must yield, `result` being what `vllm bench serve` wrote."""
    num_requests = _num_requests(workload, result)
    return Expected(num_requests, _output(workload), _inputs(workload), _prefix_hit_fraction(workload, num_requests))


def least_tokens(workload: WorkloadConfig) -> int | None:
    """Return how many tokens the shortest request has with its answer; None where that is not known beforehand."""
    inputs, output = _asked_inputs(workload), _output(workload)
    return math.ceil(inputs.least + output.least) if inputs and output else None


def _num_requests(workload: WorkloadConfig, result: Mapping[str, Any]) -> int:
    asked = workload.num_prompts or _DEFAULT_NUM_PROMPTS
    if _dataset(workload) == "prefix_repetition":  # each prefix has as many prompts as any other
        num_prefixes = workload.prefix_repetition_num_prefixes or 10
        return asked // num_prefixes * num_prefixes
    if workload.no_oversample or (workload.random_batch_size or 1) > 1:
        return len(result.get("input_lens") or result.get("latencies") or [])
    return asked


def _output(workload: WorkloadConfig) -> Tokens | None:
    if workload.is_pooling:
        return None
    name = _dataset(workload)
    if name in ("random", "random-mm") and workload.backend in (None, "openai", "vllm", "openai-chat"):
        length = workload.output_len or workload.random_output_len or 128
        return _spread(length, _range_ratio(workload, "output"))
    if name == "prefix_repetition":
        length = workload.output_len or workload.prefix_repetition_output_len or 128
        return Tokens(length if workload.ignore_eos else 1, length)
    return None


def _inputs(workload: WorkloadConfig) -> Tokens | None:
    asked = _asked_inputs(workload)
    return _with_slack(asked.least, asked.most) if asked else None


def _asked_inputs(workload: WorkloadConfig) -> Tokens | None:
    if (workload.random_batch_size or 1) > 1 or workload.backend not in (None, "openai", "vllm"):
        return None  # a chat template adds its own
    name = _dataset(workload)
    if name == "random":
        own = _spread(workload.input_len or workload.random_input_len or 1024, _range_ratio(workload, "input"))
        shared = workload.random_prefix_len or 0
        return Tokens(own.least + shared, own.most + shared)
    if name == "prefix_repetition":
        length = (workload.prefix_repetition_prefix_len or 256) + (workload.prefix_repetition_suffix_len or 256)
        return Tokens(length, length)
    return None


def _prefix_hit_fraction(workload: WorkloadConfig, num_requests: int) -> float | None:
    """Return the share of shared prefixes in all prompts, and of the warm-ups, which repeat the first prompt."""
    name = _dataset(workload)
    if name == "random":
        own = workload.input_len or workload.random_input_len or 1024
        shared = workload.random_prefix_len or 0
    elif name == "prefix_repetition":
        own, shared = workload.prefix_repetition_suffix_len or 256, workload.prefix_repetition_prefix_len or 256
    else:
        return None
    num_warmups = workload.num_warmups or 0
    num_repeated = num_warmups + (1 if num_warmups else 0)
    by_prefix = shared / (own + shared)
    return by_prefix + (1 - by_prefix) * num_repeated / max(1, num_requests + num_warmups)


def _dataset(workload: WorkloadConfig) -> str:
    return workload.dataset_name or "random"


def _range_ratio(workload: WorkloadConfig, which: str) -> float:
    ratio = workload.random_range_ratio or 0.0
    return ratio[which] if isinstance(ratio, dict) else ratio


def _spread(mean: int, ratio: float) -> Tokens:
    """Return the bounds of lengths drawn around `mean`. Source: `get_sampling_params` of vLLM's datasets."""
    return Tokens(max(1, math.floor(mean * (1 - ratio))), math.ceil(mean * (1 + ratio)))


def _with_slack(least: float, most: float) -> Tokens:
    slack = max(_SLACK_TOKENS, _SLACK_FRACTION * most)
    return Tokens(least - slack, most + slack)
