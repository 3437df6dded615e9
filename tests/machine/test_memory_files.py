"""What is read of a model's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixvllm.machine.memory import ModelFiles, read_model_files


def write(folder: Path, **files: Any) -> None:
    for name, contents in files.items():
        (folder / f"{name.replace('__', '.')}.json").write_text(json.dumps(contents))


def test_the_index_tells_the_size(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 80}, "weight_map": {"a": "model-1.safetensors"}}
    write(tmp_path, config={"model_type": "llama"}, model__safetensors__index=index)

    files = read_model_files(tmp_path)

    assert files == ModelFiles({"model_type": "llama"}, 80)


def test_without_an_index_the_only_file_tells_it(tmp_path: Path) -> None:
    write(tmp_path, config={})
    (tmp_path / "model.safetensors").write_bytes(bytes(12))

    assert read_model_files(tmp_path) == ModelFiles({}, 12)


def test_a_config_alone_is_enough(tmp_path: Path) -> None:
    write(tmp_path, config={})

    assert read_model_files(tmp_path) == ModelFiles({})


def test_the_quantization_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, config={}, hf_quant_config={"quantization": {"quant_algo": "NVFP4"}})

    assert read_model_files(tmp_path).config["quantization_config"] == {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
    }


@pytest.mark.parametrize(("contents", "error"), [(None, OSError), ("{", ValueError)])
def test_a_folder_without_a_config_is_an_error(tmp_path: Path, contents: str | None, error: type[Exception]) -> None:
    if contents is not None:
        (tmp_path / "config.json").write_text(contents)

    with pytest.raises(error):
        read_model_files(tmp_path)
