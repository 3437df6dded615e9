"""The files of a model that tell its size, read without its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

_INDEX = "model.safetensors.index.json"
_ONLY_FILE = "model.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """What a model's folder says of itself.

    Args:
        config: `config.json`.
        total_size: bytes of all weights as they are stored; None = not known.
    """

    config: Mapping[str, Any]
    total_size: int | None = None

    def with_overrides(self, hf_overrides: Mapping[str, Any] | None) -> ModelFiles:
        """Return these files with the values of `inference.hf_overrides` in the config."""
        return replace(self, config={**self.config, **(hf_overrides or {})})


def read_model_files(directory: Path) -> ModelFiles:
    """Return what the files in `directory` say; only `config.json` must be there. Reads no weights.

    Raises:
        OSError: `config.json` cannot be read.
        ValueError: one of the files is not JSON.
    """
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config.update(_separate_quantization(directory, config))
    stated = _read_if_there(directory / _INDEX).get("metadata", {}).get("total_size")
    return ModelFiles(config, stated or _size_if_there(directory / _ONLY_FILE))


def _separate_quantization(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the quantization that ModelOpt's older checkpoints keep in a file of its own."""
    stated = _read_if_there(directory / "hf_quant_config.json").get("quantization")
    if stated is None or "quantization_config" in config:
        return {}
    return {"quantization_config": {"quant_method": "modelopt", **stated}}


def _read_if_there(path: Path) -> dict[str, Any]:
    contents: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return contents


def _size_if_there(path: Path) -> int | None:
    """Return the size of `path`, bytes; a safetensors file is its weights and a header of some kilobytes."""
    return path.stat().st_size if path.is_file() else None
