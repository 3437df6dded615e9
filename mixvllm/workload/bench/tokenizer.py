"""The tokenizer that the load generator counts with: the one that the server has, revision and all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mixvllm.config.schema import ModelConfig
from mixvllm.runtime.caches import hub_cache, hub_snapshot


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
    found = None if revision is None else hub_snapshot(hub_cache(environment).absolute(), name, revision)
    return name if found is None else str(found)
