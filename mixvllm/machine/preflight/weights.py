"""The weights: whole on this machine, in the hub's cache, or still to be fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.machine import GIB
from mixvllm.machine.preflight.check import Check, error, ok, warning
from mixvllm.runtime.caches import hub_cache, hub_home, hub_snapshot
from mixvllm.runtime.mounts import host_path

_WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def model_folder(config: ServeConfig, environment: Mapping[str, str]) -> Path | None:
    """Return the folder that holds the model here: its path, or its newest snapshot in the hub's cache; else None."""
    local = Path(host_path(config.runtime, config.model.name)).expanduser()
    if local.is_dir():
        return local
    if config.model.is_local:
        return None
    cache = host_path(config.runtime, str(hub_cache(environment)))
    return hub_snapshot(Path(cache), config.model.name, config.model.revision)


def check_weights(config: ServeConfig, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield what is to be said of the model's files, as far as this machine tells; nothing is fetched."""
    folder = model_folder(config, environment)
    if folder is not None:
        yield _check_folder(folder)
    elif config.model.recipe is not None:
        yield ok("weights", f"made on this machine at the start, in {config.model.name}")
    elif config.model.is_local and config.runtime.is_container:
        words = f"no folder {config.model.name} on this machine, and no mount has it: it has to be in the image"
        yield warning("weights", words, f"runtime.mounts=[/folder/here:{config.model.name}:ro]")
    elif config.model.is_local:
        yield error("weights", f"no folder {config.model.name}", "model.name=/path/to/the/model, or a hub id")
    elif environment.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        yield error(
            "weights",
            f"{config.model.name} is not in {hub_cache(environment)}, and HF_HUB_OFFLINE forbids to fetch it",
            "fetch it where there is a network, into a cache that HF_HOME names",
        )
    else:
        token = "a token is set" if has_token(environment) else "no token is set, which gated models need"
        size = f", {config.model.weights_gib:g} GiB" if config.model.weights_gib else ""
        yield warning(
            "weights",
            f"{config.model.name} will be fetched from the hub{size}; {token}",
            f"hf download {config.model.name}, before",
        )


def has_token(environment: Mapping[str, str]) -> bool:
    """Whether there is a token for the hub; it is never read."""
    file = Path(environment.get("HF_TOKEN_PATH") or hub_home(environment) / "token")
    return bool(environment.get("HF_TOKEN")) or file.is_file()


def _check_folder(folder: Path) -> Check:
    if not (folder / "config.json").is_file() and not (folder / "params.json").is_file():
        return error("weights", f"{folder} has no config.json", "name the folder that has it")
    try:
        missing = sorted(_missing_shards(folder))
    except ValueError as problem:
        return error("weights", f"the index of {folder} cannot be read: {problem}", "fetch the model again")
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        return error("weights", f"{folder} lacks {shown}", "fetch the model again; a copy was cut short")
    files = [file for pattern in _WEIGHT_FILES for file in folder.glob(pattern)]
    empty = [file.name for file in files if file.stat().st_size < 1024]
    if empty:
        return error("weights", f"{folder / empty[0]} is too small for weights (a Git LFS pointer?)", "fetch it whole")
    if not files:
        return error("weights", f"{folder} has no weights", "fetch the model whole, or name another folder")
    size_gib = sum(file.stat().st_size for file in files) / GIB
    return ok("weights", f"{len(files)} file{'s' * (len(files) > 1)}, {size_gib:.1f} GiB, in {folder}")


def _missing_shards(folder: Path) -> set[str]:
    index = next((folder / name for name in _INDEXES if (folder / name).is_file()), None)
    if index is None:
        return set()
    named = json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values()
    return {name for name in named if not (folder / name).is_file()}
