"""The tokenizer that the load generator counts with: the one that the server has, revision and all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mixvllm.config.schema import ModelConfig


def find_tokenizer(model: ModelConfig, environment: Mapping[str, str]) -> str:
    """Return path or hub id of the tokenizer of `model`.

    `vllm bench serve` has no option for a revision, so one that is given is looked up in the hub's cache on this
    machine, where the server has put it.
    """
    name = model.tokenizer or model.name
    local = Path(name).expanduser()
    if local.is_dir():
        return str(local.absolute())
    revision = model.tokenizer_revision or model.revision
    found = None if revision is None else _snapshot(_hub_cache(environment), name, revision)
    return name if found is None else str(found)


def _hub_cache(environment: Mapping[str, str]) -> Path:
    """Source: `HF_HUB_CACHE` in huggingface_hub/constants.py."""
    home = environment.get("HF_HOME") or str(
        Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    return Path(named or Path(home) / "hub").expanduser().absolute()


def _snapshot(cache: Path, name: str, revision: str) -> Path | None:
    repository = cache / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None
