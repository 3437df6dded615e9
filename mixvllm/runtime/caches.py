"""Where vLLM, its compilers and the hub's client keep things, as an environment names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ENGINE_CACHES = {"VLLM_CACHE_ROOT": "vllm", "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor"}
"""Variables that name a folder in which the engine keeps what it compiled, with the name that a folder of ours has."""


def engine_cache(environment: Mapping[str, str]) -> Path:
    """Return where vLLM keeps what it compiled. Source: `VLLM_CACHE_ROOT` in vllm/envs.py, 0.32."""
    return Path(environment.get("VLLM_CACHE_ROOT") or _user_cache(environment) / "vllm").expanduser()


def hub_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of the hub's client. Source: `HF_HOME` in huggingface_hub/constants.py."""
    return Path(environment.get("HF_HOME") or _user_cache(environment) / "huggingface").expanduser()


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return where the hub's client keeps models. Source: `HF_HUB_CACHE` in huggingface_hub/constants.py."""
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else hub_home(environment) / "hub"


def hub_snapshot(cache: Path, name: str, revision: str | None) -> Path | None:
    """Return the folder in `cache` that holds a revision of the model `name`; None where it is not there.

    Args:
        cache: the hub's, see `hub_cache`.
        name: hub id.
        revision: branch, tag or commit; None = the default branch.
    """
    repository = cache / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / (revision or "main")
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    folder = repository / "snapshots" / (commit or "")
    return folder if commit and folder.is_dir() else None


def _user_cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
