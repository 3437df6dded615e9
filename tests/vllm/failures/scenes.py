"""The faults that are provoked in a real server: how it is started, and what is done to it."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.vllm.failures import broken_models as models

BASE = (
    "model=demo",
    "inference=cpu",
    "preflight=off",
    "inference.kv_cache_memory_bytes=64M",
    "inference.max_model_len=512",
    "inference.max_num_seqs=4",
    "inference.max_num_batched_tokens=512",
)
"""Overrides of every server; a scene's own follow them."""
MODEL = "/models/demo"
"""What stands for the model's folder in a recorded log."""

TWO_WORKERS = (
    "inference.tensor_parallel_size=2",
    "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null",
    "server.env.OMP_NUM_THREADS=1",
)
SERVING = "Application startup complete"
OTHER_USER = 31000


@dataclass
class Started:
    """A server that was started, for what is done to it."""

    process: psutil.Process
    port: int
    held: list[socket.socket] = field(default_factory=list)

    def child(self, title: str) -> psutil.Process:
        """Return its process whose title holds `title`."""
        children = self.process.children(recursive=True)
        return next(child for child in children if title in " ".join(child.cmdline()))


Act = Callable[[Started], None]


@dataclass(frozen=True)
class Scene:
    """One fault.

    Args:
        overrides: of our configuration.
        arguments: of vLLM, which our configuration would refuse.
        environment: over that of the recorder.
        wrapper: program and arguments that start the server.
        model: makes the model from the demo model.
        when: text in the log at which `act` is done.
        act: what is done to the server.
        hub_answer: status and error code that a hub on this machine answers with; None = no hub.
    """

    overrides: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()
    model: Callable[[Path, Path], Path] = models.copy
    when: str = SERVING
    act: Act | None = None
    hub_answer: tuple[int, str] | None = None


def send(number: int, title: str = "") -> Act:
    """Return the act of sending a signal to the server, or to its process of that title."""
    return lambda started: (started.child(title) if title else started.process).send_signal(number)


def in_turn(*acts: Act) -> Act:
    """Return the act of doing several."""

    def act(started: Started) -> None:
        for one in acts:
            one(started)

    return act


def ask(started: Started) -> None:
    """Send one request, and wait a while for what becomes of it."""
    body = b'{"model": "demo", "prompt": "Hello", "max_tokens": 8}'
    request = urllib.request.Request(
        f"http://127.0.0.1:{started.port}/v1/completions", body, {"Content-Type": "application/json"}
    )
    with suppress(OSError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).read()


def take_port(started: Started) -> None:
    """Listen on the server's port, which it has bound and does not listen on yet."""
    rival = socket.socket()
    rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    rival.bind(("127.0.0.1", started.port))
    rival.listen()
    started.held.append(rival)


def limited(**limits: int) -> tuple[str, ...]:
    """Return the wrapper that sets limits of resources."""
    return ("prlimit", *(f"--{name}={value}:{value}" for name, value in limits.items()))


def with_small_folder(folder: str, size: str) -> tuple[str, ...]:
    """Return the wrapper that mounts a folder of `size` for the server alone."""
    return ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} tmpfs {folder} && exec "$@"', "sh")


def few_threads() -> tuple[str, ...]:
    """Return the wrapper that limits processes and threads; root has no such limit, so another user takes its place."""
    limit = limited(nproc=24)
    if os.geteuid() != 0:
        return limit
    reading = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override")
    return ("setpriv", "--reuid", str(OTHER_USER), "--clear-groups", *reading, *limit)


def _scene(*overrides: str, **fields: Any) -> Scene:
    return Scene(overrides=overrides, **fields)


def _arguments(*arguments: str, **fields: Any) -> Scene:
    return Scene(arguments=arguments, **fields)


SCENES: dict[str, Scene] = {
    # The command line.
    "unknown_flag": _arguments("--no-such-flag", "1"),
    "bad_choice": _arguments("--dtype", "float99"),
    "bad_int": _arguments("--max-num-seqs", "abc"),
    "bad_json": _arguments("--compilation-config", "{mode: 3"),
    "bad_tool_parser": _scene("model.enable_auto_tool_choice=true", "model.tool_call_parser=hermis"),
    "bad_reasoning_parser": _scene("model.reasoning_parser=harbour"),
    "tool_choice_without_parser": _arguments("--enable-auto-tool-choice"),
    "no_chat_template": _scene("model.chat_template=/models/none.jinja"),
    "unknown_quantization": _scene("inference.quantization=harbour"),
    # Values that do not go together.
    "too_long": _scene("model.context_length=null", "inference.max_model_len=99999"),
    "heads": _scene("model.num_attention_heads=null", *TWO_WORKERS, "inference.tensor_parallel_size=8"),
    "batch_below_length": _scene(
        "inference.enable_chunked_prefill=false", "inference.max_model_len=null", "inference.max_num_batched_tokens=64"
    ),
    "batch_below_sequences": Scene(
        overrides=("inference.max_num_seqs=null", "inference.max_num_batched_tokens=null"),
        arguments=("--max-num-seqs", "256", "--max-num-batched-tokens", "128"),
    ),
    "quantization_dtype": _scene("inference.quantization=fp8"),
    "unknown_attention_backend": _scene("inference.attention_backend=HARBOUR"),
    "ray_on_cpu": _scene("inference.distributed_executor_backend=ray"),
    "numa_nodes": _scene(*TWO_WORKERS, "server.env.VLLM_CPU_OMP_THREADS_BIND=null"),
    "pipeline_first_request": _scene(
        "inference.pipeline_parallel_size=2", "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null", act=ask
    ),
    # The model.
    "no_path": _scene("model.name=/models/none"),
    "not_cached": _scene("model.recipe=null", "model.name=harbour/none"),
    "hub_gone": _scene(
        "model.recipe=null",
        "model.name=harbour/none",
        environment={"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"},
    ),
    "hub_no_repository": _scene("model.recipe=null", "model.name=harbour/none", hub_answer=(401, "RepoNotFound")),
    "hub_gated": _scene("model.recipe=null", "model.name=harbour/gated", hub_answer=(403, "GatedRepo")),
    "hub_busy": _scene("model.recipe=null", "model.name=harbour/busy", hub_answer=(429, "")),
    "no_config": _scene(model=models.without_config),
    "no_weights": _scene(model=models.without_weights),
    "cut_weights": _scene(model=models.with_cut_weights),
    "pointer_weights": _scene(model=models.with_pointer),
    "renamed_tensor": _scene(model=models.with_renamed_tensor),
    "other_sizes": _scene(model=models.with_larger_layers),
    "unknown_architecture": _scene(model=models.of_unknown_architecture),
    "unknown_type": _scene(model=models.of_unknown_type),
    "own_code": _scene(model=models.with_own_code),
    "adapter_rank": Scene(
        arguments=("--enable-lora", "--lora-modules", "a=SCRATCH/model/adapter"), model=models.with_adapter
    ),
    # Memory.
    "kv_too_small": _scene("inference.kv_cache_memory_bytes=4K"),
    "kv_below_length": _scene("inference.kv_cache_memory_bytes=256K"),
    "kv_too_big": _scene("inference.kv_cache_memory_bytes=400G"),
    "kv_space_too_big": _scene("inference.kv_cache_memory_bytes=null", environment={"VLLM_CPU_KVCACHE_SPACE": "999"}),
    "utilization_too_high": _scene("inference.kv_cache_memory_bytes=null", "inference.gpu_memory_utilization=0.999"),
    "little_address_space": _scene(wrapper=limited(**{"as": 1_500 * 1024**2})),
    "small_shared_memory": _scene(
        *TWO_WORKERS,
        wrapper=with_small_folder("/dev/shm", "256k"),
    ),
    # The machine.
    "port_in_use": _scene(when="", act=take_port),
    "port_raced": _scene(when="Starting to load model", act=take_port),
    "few_files": _scene(wrapper=limited(nofile=64)),
    "few_threads": Scene(wrapper=few_threads()),
    "full_disk": _scene(
        environment={"VLLM_RPC_BASE_PATH": "/mnt"}, wrapper=with_small_folder("/mnt", "4k,nr_inodes=1")
    ),
    "long_socket_path": _scene(environment={"VLLM_RPC_BASE_PATH": "SCRATCH/" + "d" * 120}),
    "port_is_a_uri": _scene(environment={"VLLM_PORT": "tcp://10.0.0.1:8000"}),
    "no_compiler": _scene(
        "inference.enforce_eager=null",
        environment={"CXX": "/none/g++", "VLLM_DISABLE_COMPILE_CACHE": "1"},
    ),
    # Processes that end.
    "killed_engine": _scene(act=send(signal.SIGKILL, "EngineCore")),
    "crashed_engine": _scene(act=in_turn(send(signal.SIGSEGV, "EngineCore"))),
    "killed_engine_while_loading": _scene(when="Initializing a V1 LLM engine", act=send(signal.SIGKILL, "EngineCore")),
    "killed_worker": _scene(*TWO_WORKERS, act=send(signal.SIGKILL, "Worker_TP1")),
    "hung_worker": _scene(
        *TWO_WORKERS,
        environment={"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "5"},
        act=in_turn(send(signal.SIGSTOP, "Worker_TP1"), ask),
    ),
    "killed_server": _scene(act=send(signal.SIGKILL)),
    "killed_while_importing": _scene(when="", act=send(signal.SIGKILL)),
    # No failure.
    "asked_to_stop": _scene(act=in_turn(ask, send(signal.SIGTERM))),
    "asked_to_stop_two_workers": _scene(*TWO_WORKERS, act=in_turn(ask, send(signal.SIGTERM))),
}
