"""What a container sees of the host: the mounts of the configuration, and those that the engine needs besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.runtime.caches import ENGINE_CACHES

PATH_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", *ENGINE_CACHES, "TMPDIR")
"""Variables of the engine that name a folder which it writes to."""
_PATH_ARGUMENTS = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs", "tool_parser_plugin", "download_dir")
"""Arguments of vLLM without a key of their own that name a file or a folder."""


@dataclass(frozen=True)
class Mount:
    """A folder or file of the host in a container.

    Args:
        source: path on the host.
        target: path in the container.
        is_read_only: whether the engine may only read it.
    """

    source: str
    target: str
    is_read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the mount `HOST[:CONTAINER][:ro]`."""
        source, *rest = text.split(":")
        is_read_only = rest[-1:] == ["ro"]
        target = next((part for part in rest if part.startswith("/")), source)
        return cls(source.rstrip("/") or "/", target.rstrip("/") or "/", is_read_only)

    @property
    def text(self) -> str:
        """This, as apptainer and pyxis read it."""
        return f"{self.source}:{self.target}" + (":ro" if self.is_read_only else "")

    def covers(self, path: str) -> bool:
        """Whether `path` of the container is in it."""
        return PurePosixPath(path).is_relative_to(self.target)


def named_mounts(runtime: RuntimeConfig) -> tuple[Mount, ...]:
    """Return the mounts that the configuration names."""
    return tuple(map(Mount.parse, runtime.mounts))


def host_path(runtime: RuntimeConfig, path: str) -> str:
    """Return where the engine's `path` is on the host; of two mounts that hold it the inner one counts."""
    holding = [mount for mount in named_mounts(runtime) if mount.covers(path)] if runtime.is_container else []
    if not holding:
        return path
    mount = max(holding, key=lambda each: len(PurePosixPath(each.target).parts))
    return str(Path(mount.source) / PurePosixPath(path).relative_to(mount.target))


def needed_mounts(config: ServeConfig) -> Iterator[Mount]:
    """Yield what the engine reads of the host at paths of the host, and no mount of the configuration holds."""
    model = config.model
    if model.recipe is not None:
        yield Mount(str(Path(model.name).parent), str(Path(model.name).parent))
        return
    extras = {**model.extra_args, **config.inference.extra_args, **config.server.extra_args}
    paths = [model.name, model.tokenizer, model.chat_template, *(extras.get(name) for name in _PATH_ARGUMENTS)]
    for path in paths:
        if not (isinstance(path, str) and path.startswith("/") and Path(path).exists()):
            continue
        if not any(mount.covers(path) for mount in named_mounts(config.runtime)):
            source = str(_whole(Path(path)))
            yield Mount(source, source, is_read_only=path != extras.get("download_dir"))


def folder_mounts(environment: Mapping[str, str], known: Iterable[Mount]) -> Iterator[Mount]:
    """Yield the folders that variables of the engine name, where none of the mounts `known` holds them."""
    for name in PATH_VARIABLES:
        path = environment.get(name, "")
        if path.startswith("/") and not any(mount.covers(path) for mount in known):
            yield Mount(path, path)


def _whole(path: Path) -> Path:
    """Return what holds all of `path`: files of a snapshot in the hub's cache are links to the folder beside it."""
    repository = path.parent.parent
    return repository if path.parent.name == "snapshots" and (repository / "blobs").is_dir() else path
