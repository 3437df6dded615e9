"""Where the engine and the hub's client keep things."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm.runtime.caches import engine_cache, hub_cache

USUAL = Path.home() / ".cache"


@pytest.mark.parametrize(
    ("environment", "hub", "engine"),
    [
        ({}, USUAL / "huggingface" / "hub", USUAL / "vllm"),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/huggingface/hub"), Path("/c/vllm")),
        ({"XDG_CACHE_HOME": "/c", "HF_HOME": "/h", "VLLM_CACHE_ROOT": "/v"}, Path("/h/hub"), Path("/v")),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, Path("/old"), USUAL / "vllm"),
        ({"HF_HUB_CACHE": "~/hub", "HUGGINGFACE_HUB_CACHE": "/old"}, Path.home() / "hub", USUAL / "vllm"),
    ],
)
def test_the_most_special_variable_counts(environment: dict[str, str], hub: Path, engine: Path) -> None:
    assert (hub_cache(environment), engine_cache(environment)) == (hub, engine)
