"""Rules over several values. Each yields the faults it finds; none looks at the machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from mixvllm.config.schema.fields import human_int_value
from mixvllm.config.schema.generation import GenerationDefaultsConfig
from mixvllm.config.schema.inference import InferenceConfig
from mixvllm.config.schema.model import ModelConfig
from mixvllm.config.schema.runtime import RuntimeConfig, runtime_faults
from mixvllm.config.schema.server import ServerConfig, is_secret_name
from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.config.schema.workload_rules import workload_faults
from mixvllm.errors import Fault

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class RuleViolations(ValueError):
    """Values that do not go together, as faults with their paths."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(str(fault) for fault in faults))


def check(model: ModelConfig, inference: InferenceConfig, server: ServerConfig, runtime: RuntimeConfig) -> None:
    """Raise `RuleViolations` with every rule that the values of one server break."""
    _raise_if_any(
        chain(
            _what_is_made_has_a_path(model),
            _heads_are_divisible(model, inference),
            _context_is_declared(model, inference, server),
            _batch_holds_its_sequences(inference),
            _one_process_serves_one_gpu(inference, server),
            _no_node_idles(inference),
            _replicas_are_behind_a_router(inference, server),
            _remote_code_is_pinned(model),
            _tool_choice_has_a_parser(model),
            _open_hosts_have_a_key(server),
            _environment_is_public(server),
            runtime_faults(runtime, model, inference, server),
        )
    )


def check_workload(generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> None:
    """Raise `RuleViolations` with every rule that a workload breaks."""
    _raise_if_any(workload_faults(generation, workload))


def _raise_if_any(faults: Iterable[Fault]) -> None:
    found = tuple(faults)
    if found:
        raise RuleViolations(found)


def _what_is_made_has_a_path(model: ModelConfig) -> Iterator[Fault]:
    if model.recipe is not None and not model.is_local:
        words = f"names no folder in which model={model.recipe} could be made; model=default serves any weights"
        yield Fault("model.name", words, model.name)


def _heads_are_divisible(model: ModelConfig, inference: InferenceConfig) -> Iterator[Fault]:
    heads, size = model.num_attention_heads, inference.tensor_parallel_size
    if heads is not None and heads % size:
        fitting = [divisor for divisor in range(1, min(heads, 64) + 1) if heads % divisor == 0]
        yield Fault(
            "inference.tensor_parallel_size",
            f"must divide the model's {heads} attention heads: {', '.join(map(str, fitting))}",
            str(size),
        )


def _context_is_declared(model: ModelConfig, inference: InferenceConfig, server: ServerConfig) -> Iterator[Fault]:
    asked, declared = inference.max_model_len, model.context_length
    if asked in (None, -1, "auto") or declared is None or inference.hf_overrides:
        return
    if server.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") not in (None, "0"):
        return
    if human_int_value(asked) > declared:
        yield Fault(
            "inference.max_model_len",
            f"must be at most {declared}, the context that the model declares (model.context_length); "
            "a longer one needs rope scaling in inference.hf_overrides",
            str(asked),
        )


def _batch_holds_its_sequences(inference: InferenceConfig) -> Iterator[Fault]:
    if inference.max_num_batched_tokens is None:
        return
    tokens = human_int_value(inference.max_num_batched_tokens)
    if inference.max_num_seqs is not None and tokens < inference.max_num_seqs:
        yield Fault(
            "inference.max_num_batched_tokens",
            f"must be at least inference.max_num_seqs={inference.max_num_seqs}",
            str(inference.max_num_batched_tokens),
        )
    length = None if inference.max_model_len in (-1, "auto") else inference.max_model_len
    if inference.enable_chunked_prefill is False and length is not None and tokens < human_int_value(length):
        yield Fault(
            "inference.max_num_batched_tokens",
            f"must be at least inference.max_model_len={length} without chunked prefill",
            str(inference.max_num_batched_tokens),
        )


def _one_process_serves_one_gpu(inference: InferenceConfig, server: ServerConfig) -> Iterator[Fault]:
    num_workers = inference.tensor_parallel_size * inference.pipeline_parallel_size
    if num_workers > 1 and server.env.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0":
        yield Fault(
            "server.env.VLLM_ENABLE_V1_MULTIPROCESSING",
            f"must not be 0 with {num_workers} workers (tensor x pipeline parallel size): "
            "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null leaves it out",
            "0",
        )


def _no_node_idles(inference: InferenceConfig) -> Iterator[Fault]:
    """Each node has whole copies of the model, or each copy whole nodes. Source: `ParallelConfig.nnodes_within_dp`."""
    num_replicas = inference.data_parallel_size

    def fits(num_nodes: int) -> bool:
        if inference.num_gpus % num_nodes:
            return False
        return num_replicas % num_nodes == 0 or num_nodes % num_replicas == 0

    if not fits(inference.nnodes):
        fitting = [str(number) for number in range(1, inference.num_gpus + 1) if fits(number)]
        words = (
            f"must give each node as many of the {inference.num_gpus} GPUs (tensor x pipeline x data parallel size), "
            f"and whole copies of the model to each, or whole nodes to each copy: {', '.join(fitting)}"
        )
        yield Fault("inference.nnodes", words, str(inference.nnodes))


def _replicas_are_behind_a_router(inference: InferenceConfig, server: ServerConfig) -> Iterator[Fault]:
    if server.replicas == 1:
        return
    if inference.nnodes > 1:
        words = f"must be 1 where a server spans several nodes (inference.nnodes={inference.nnodes})"
        yield Fault("server.replicas", f"{words}: raise inference.data_parallel_size instead", str(server.replicas))
    if not server.is_loopback:
        words = (
            "must be a loopback address with server.replicas > 1: vLLM's router adds and removes servers for whoever "
            "reaches it, without a key; an ssh tunnel does (mixvllm url prints one)"
        )
        yield Fault("server.host", words, server.host)


def _remote_code_is_pinned(model: ModelConfig) -> Iterator[Fault]:
    if model.trust_remote_code and not (model.revision or model.trust_unpinned_code or model.is_local):
        yield Fault(
            "model.trust_remote_code",
            "runs code from the model's repository, which can change: pin it with model.revision=COMMIT, "
            "or accept that with model.trust_unpinned_code=true",
            "true",
        )


def _tool_choice_has_a_parser(model: ModelConfig) -> Iterator[Fault]:
    if model.enable_auto_tool_choice and model.tool_call_parser is None:
        yield Fault("model.enable_auto_tool_choice", "needs model.tool_call_parser", "true")


def _open_hosts_have_a_key(server: ServerConfig) -> Iterator[Fault]:
    if server.key_source == "none" and not server.is_loopback:
        yield Fault(
            "server.api_key",
            f"must not be none where others can reach server.host={server.host}: generate, env:NAME or file:PATH",
            "none",
        )


def _environment_is_public(server: ServerConfig) -> Iterator[Fault]:
    for name in server.env:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            yield Fault(f"server.env.{name}", "is not a name that an environment variable can have")
        elif is_secret_name(name):
            yield Fault(
                f"server.env.{name}",
                "a secret does not belong in a configuration, which is recorded: export it in your shell, "
                "the engine inherits it (its value is not shown here)",
            )
