"""Copies of the demo model, each broken in one way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"


def copy(demo: Path, folder: Path) -> Path:
    """Return a whole copy of the model at `demo`."""
    shutil.copytree(demo, folder)
    return folder


def without_weights(demo: Path, folder: Path) -> Path:
    """Return a model of which only the small files were fetched."""
    (copy(demo, folder) / WEIGHTS).unlink()
    return folder


def without_config(demo: Path, folder: Path) -> Path:
    """Return a folder that holds weights and a tokenizer, and does not say what they are."""
    (copy(demo, folder) / "config.json").unlink()
    return folder


def with_cut_weights(demo: Path, folder: Path) -> Path:
    """Return a model whose weights were cut short, as by a transfer that broke off."""
    weights = copy(demo, folder) / WEIGHTS
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def with_pointer(demo: Path, folder: Path) -> Path:
    """Return a model whose weights are still the pointer that git keeps for a large file."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1709448\n"
    (copy(demo, folder) / WEIGHTS).write_text(pointer)
    return folder


def with_renamed_tensor(demo: Path, folder: Path) -> Path:
    """Return a model whose weights have a tensor that the architecture does not know."""
    weights = copy(demo, folder) / WEIGHTS
    data = weights.read_bytes()
    weights.write_bytes(data.replace(b"model.layers.0.mlp.down_proj", b"model.layers.0.mlp.down_xxxx", 1))
    return folder


def with_larger_layers(demo: Path, folder: Path) -> Path:
    """Return a model whose config says other sizes than its weights have."""
    return with_config(demo, folder, intermediate_size=1024)


def of_unknown_architecture(demo: Path, folder: Path) -> Path:
    """Return a model of an architecture that vLLM does not have."""
    return with_config(demo, folder, architectures=["HarbourForCausalLM"])


def of_unknown_type(demo: Path, folder: Path) -> Path:
    """Return a model of a type that transformers does not have."""
    return with_config(demo, folder, architectures=["HarbourForCausalLM"], model_type="harbour")


def with_own_code(demo: Path, folder: Path) -> Path:
    """Return a model that brings Python code of its own."""
    (copy(demo, folder) / "configuration_harbour.py").write_text(
        "from transformers import LlamaConfig\n\n\nclass HarbourConfig(LlamaConfig):\n    model_type = 'harbour'\n"
    )
    return _change(folder, model_type="harbour", auto_map={"AutoConfig": "configuration_harbour.HarbourConfig"})


def with_adapter(demo: Path, folder: Path) -> Path:
    """Return a model with a LoRA adapter of rank 64 in its folder `adapter`."""
    adapter = copy(demo, folder) / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 64, "lora_alpha": 64, "target_modules": ["q_proj"], "bias": "none"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    header = b'{"__metadata__":{"format":"pt"}}'
    (adapter / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def with_config(demo: Path, folder: Path, **values: Any) -> Path:
    """Return a model whose config has `values`."""
    return _change(copy(demo, folder), **values)


def _change(folder: Path, **values: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}, indent=2))
    return folder
