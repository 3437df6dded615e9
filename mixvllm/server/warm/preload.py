"""What a warm engine imports, and what of that depends on where it happened. Runs in the serving interpreter."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

MODULES = (
    # What `vllm.entrypoints.cli.main` imports once it runs; not itself, since it is run as `__main__`.
    "vllm.entrypoints.cli.openai",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.cli.launch",
    "vllm.entrypoints.cli.benchmark.main",
    "vllm.entrypoints.cli.collect_env",
    "vllm.entrypoints.cli.download_kernels",
    "vllm.entrypoints.cli.preload",
    "vllm.entrypoints.cli.run_batch",
    "vllm.entrypoints.cli.snapshot",
    # The front end and the engine's core, which import more when they are first used.
    "vllm.entrypoints.launchers.api_server.app_state",
    "vllm.entrypoints.launchers.api_server.routers",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.executor.uniproc_executor",
    "vllm.model_executor.model_loader",
    # For the command line and the titles of processes.
    "setproctitle",
    "uvloop",
)
"""Imported in this order. A name that a release does not have is left out."""

CPU_MODULES = (
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.v1.attention.backends.cpu_attn",
    "vllm.model_executor.models.llama",
)
"""What workers import, where they are forked too."""


@dataclass(frozen=True)
class Preloaded:
    """What importing left behind that a server has to make its own.

    Args:
        changed: environment variables that the interpreter, and what was imported, set over those that were given.
        removed: those that they took away.
        tmp_dir: the folder for temporary files at that time.
        tmp_names: module and name of each variable of a module with a path below `tmp_dir`.
        files: that were open, by descriptor.
    """

    changed: Mapping[str, str]
    removed: frozenset[str]
    tmp_dir: str
    tmp_names: tuple[tuple[str, str], ...]
    files: Mapping[int, str]


def import_all() -> None:
    """Import all that a server of this vLLM needs, as far as this release has it."""
    for name in (*MODULES, *(CPU_MODULES if is_for_cpus() else ())):
        with suppress(ModuleNotFoundError):
            import_module(name)


def note(given: Mapping[str, str]) -> Preloaded:
    """Return what importing left behind.

    Args:
        given: the environment that the launcher gave; a wrapper around the interpreter may have changed it since.
    """
    now, tmp_dir = dict(os.environ), given["TMPDIR"]
    return Preloaded(
        changed={name: value for name, value in now.items() if given.get(name) != value},
        removed=frozenset(given.keys() - now.keys()),
        tmp_dir=tmp_dir,
        tmp_names=tuple(_names_below(tmp_dir)),
        files=open_files(),
    )


def moved(value: str, before: str, after: str) -> str:
    """Return the path `value` with the folder `before` replaced by `after`; another value as it is."""
    return after + value[len(before) :] if value == before or value.startswith(f"{before}/") else value


def open_files() -> dict[int, str]:
    """Return what this process has open, by descriptor: a path, or the kind and the number of a pipe or socket."""
    found: dict[int, str] = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found[int(link.name)] = str(link.readlink())
    return found


def is_for_cpus() -> bool:
    """Whether vLLM is built for CPUs; vLLM itself goes by the same sign."""
    try:
        return "cpu" in version("vllm")
    except PackageNotFoundError:
        return False


def libraries_for_workers() -> str:
    """Return `LD_PRELOAD` as vLLM sets it for its engine and workers on CPUs, whose forks can not be given it later.

    Without it they had another allocator, and two OpenMP runtimes that wait for each other.
    Source: `check_and_update_config` in vllm/platforms/cpu.py, 0.32. A release that sets another value has its
    processes spawned, see `program`.
    """
    libraries = os.environ.get("LD_PRELOAD", "")
    if not any(name in libraries for name in ("libomp", "libgomp", "libiomp")):
        torch = _folder_of("torch")
        found = [*_glob(torch.parent / "torch.libs", "libgomp*.so*"), *_glob(torch / "lib", "libgomp*.so*")]
        libraries = ":".join(filter(None, [libraries, *found[:1]]))
    if "libtcmalloc" not in libraries:
        own = _folder_of("vllm") / "libs"
        found = [*_glob(own, "libtcmalloc_minimal*.so*"), *_glob(own, "libtcmalloc.so*")]
        libraries = ":".join(filter(None, [*found[:1], libraries]))
    return libraries


def _names_below(folder: str) -> list[tuple[str, str]]:
    return [
        (name, key)
        for name, module in list(sys.modules.items())
        for key, value in list(getattr(module, "__dict__", {}).items())
        if isinstance(value, str) and moved(value, folder, "") != value
    ]


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _glob(folder: Path, pattern: str) -> list[str]:
    return [str(path) for path in folder.glob(pattern)]
