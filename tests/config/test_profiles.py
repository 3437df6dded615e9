"""Plain YAML profiles, and values of a command line over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixvllm import ConfigError, ModelConfig, ServeConfig, load_yaml_config, merge_configs

BASE = ServeConfig(model=ModelConfig(name="some/model"))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def messages(error: ConfigError) -> list[str]:
    return [f"{fault.path}: {fault.message}" for fault in error.faults]


def test_a_profile_is_a_server(tmp_path: Path) -> None:
    profile = write(
        tmp_path / "p.yaml",
        "model: {name: some/model}\ninference: {tensor_parallel_size: 2}\ngeneration_defaults: {temperature: 0.5}\n",
    )

    config = load_yaml_config(profile)

    assert (config.inference.tensor_parallel_size, config.generation.temperature) == (2, 0.5)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model: [", "not valid YAML"),
        ("- 1\n", "must be a mapping"),
        ("model: {name: a, name: b}\n", "key 'name' is given twice"),
        ("model: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("inference: {}\n", "model: must be given"),
        ("model: {name: a, nmae: b}\n", "model.nmae: unknown key; did you mean model.name?"),
    ],
)
def test_a_profile_with_a_fault_is_refused_in_words(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_yaml_config(write(tmp_path / "p.yaml", text))

    assert part in " ".join(messages(raised.value))


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml_config(tmp_path / "none.yaml")


def test_a_huge_profile_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load_yaml_config(write(tmp_path / "p.yaml", "#" * 1_100_000))


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        ({"model": "other/model"}, "model.name", "other/model"),
        ({"gpus": 4}, "inference.tensor_parallel_size", 4),
        ({"gpu_memory": 0.8}, "inference.gpu_memory_utilization", 0.8),
        ({"port": 9000}, "server.port", 9000),
        ({"workers": 2}, "server.api_server_count", 2),
        ({"inference.max_num_seqs": 8}, "inference.max_num_seqs", 8),
        ({"inference.compilation_config.mode": 3}, "inference.compilation_config", {"mode": 3}),
        ({"server.env.A": "b"}, "server.env", {"A": "b"}),
    ],
)
def test_a_given_value_goes_over_the_base(arguments: dict[str, Any], path: str, value: object) -> None:
    section, _, key = path.partition(".")

    assert getattr(getattr(merge_configs(BASE, arguments), section), key) == value


def test_none_means_not_given() -> None:
    assert merge_configs(BASE, {"model": None, "gpus": None}) == BASE


def test_the_merged_configuration_is_validated_again() -> None:
    with pytest.raises(ConfigError, match=r"inference\.gpu_memory_utilization=3: must be at most 1"):
        merge_configs(BASE, {"gpu_memory": 3})


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as raised:
        merge_configs(BASE, {"gpu_memry": 0.5, "inference.max_num_seq": 3})

    assert messages(raised.value) == [
        "gpu_memry: unknown name; did you mean gpu_memory?",
        "inference.max_num_seq: unknown key; did you mean inference.max_num_seqs?",
    ]
