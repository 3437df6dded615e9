"""What the machine gives a process: shared memory, open files, room for caches, the port."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.errors import PortInUse
from mixvllm.machine import GIB
from mixvllm.machine.ports import lease_port
from mixvllm.machine.preflight.check import Check, error, ok, warning
from mixvllm.runtime.caches import engine_cache

_MIN_FILES = 4096  # a connection and its socket per request in flight, for a few thousand of them
_MIN_CACHE_GIB = 2.0  # compiled kernels of one model
_SHM_PER_WORKER_GIB = 0.5  # message queues and NCCL between the workers of one server
_MAX_SOCKET_PATH = 107
_SOCKET_NAME_CHARS = 37  # `/` and a UUID


def check_limits(config: ServeConfig, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield what is to be said of this machine's limits for a server of `config`."""
    yield _check_shared_memory(config)
    yield _check_open_files()
    yield _check_cache_room(environment)
    yield from _check_socket_path(environment)
    yield _check_port(config)


def _check_shared_memory(config: ServeConfig) -> Check:
    num_workers = config.inference.tensor_parallel_size * config.inference.pipeline_parallel_size
    needed = _SHM_PER_WORKER_GIB * num_workers if num_workers > 1 else 0.0
    free = shutil.disk_usage("/dev/shm").free / GIB if Path("/dev/shm").is_dir() else 0.0  # noqa: S108
    found = f"/dev/shm has {free:.1f} GiB free"  # noqa: S108
    if free < needed:
        return warning("shared memory", f"{found}, {num_workers} workers may need {needed:g}", "--shm-size, --ipc=host")
    return ok("shared memory", found)


def _check_open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _MIN_FILES and hard < _MIN_FILES:
        return warning("open files", f"limit {soft}, {_MIN_FILES} are safe", f"ulimit -n {_MIN_FILES}")
    return ok("open files", f"limit {soft}, may be raised to {hard}")


def _check_cache_room(environment: Mapping[str, str]) -> Check:
    place = engine_cache(environment)
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / GIB
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        return error("cache", f"{place} cannot be written", "server.env.VLLM_CACHE_ROOT=/a/folder/of/yours")
    if free < _MIN_CACHE_GIB:
        return warning("cache", f"{free:.1f} GiB free at {place}", "server.env.VLLM_CACHE_ROOT=/where/there/is/room")
    return ok("cache", f"{free:.0f} GiB free at {place}")


def _check_socket_path(environment: Mapping[str, str]) -> Iterator[Check]:
    """vLLM's processes talk through sockets below VLLM_RPC_BASE_PATH; a longer path than this cannot be bound."""
    folder = environment.get("VLLM_RPC_BASE_PATH") or environment.get("TMPDIR") or "/tmp"  # noqa: S108
    if len(folder) + _SOCKET_NAME_CHARS > _MAX_SOCKET_PATH:
        mend = "server.env.VLLM_RPC_BASE_PATH=/a/short/folder"
        yield error("socket path", f"{folder} is too long for a socket ({_MAX_SOCKET_PATH} characters in all)", mend)


def _check_port(config: ServeConfig) -> Check:
    try:
        lease = lease_port(config.server.host, config.server.port)
    except PortInUse as problem:
        return error("port", str(problem).partition("\n")[0], "stop it, or server.port=auto")
    lease.release()
    return ok("port", f"{lease.port} on {config.server.host}" + (" (auto)" if config.server.port == "auto" else ""))
