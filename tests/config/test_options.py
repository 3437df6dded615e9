"""Every option of every group, and every experiment, as files."""

from __future__ import annotations

import json
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixvllm import compose
from mixvllm.config import keys
from mixvllm.config.load.session import shipped_conf
from mixvllm.config.schema import ExperimentConfig

CONF = shipped_conf()
GROUPS = ("model", "inference", "server", "runtime", "generation", "workload")
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))]
VARIANTS = [(group, option) for group, option in OPTIONS if option != "default"]
EXPERIMENTS = [file.stem for file in sorted((CONF / "experiment").glob("*.yaml"))]

NEEDED = {
    ("model", "default"): ["model.name=some/model"],
    ("runtime", "modules"): ["runtime.modules=[vllm]"],
    ("runtime", "apptainer"): ["runtime.image=/images/vllm.sif"],
    ("runtime", "pyxis"): ["runtime.image=/images/vllm.sqsh"],
    ("workload", "command"): ["workload.command=ls"],
    ("workload", "slo"): ["workload.slo_metric_targets={p99_ttft_ms: 200}"],
}
"""What a human must choose for these."""
OVERRIDES = [
    *[[f"{group}={option}", *NEEDED.get((group, option), [])] for group, option in VARIANTS],
    *[[f"experiment={name}"] for name in EXPERIMENTS],
]
"""What composes every option and every experiment."""


def read(group: str, option: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return values


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_validates(group: str, option: str) -> None:
    config = compose([f"{group}={option}", *NEEDED.get((group, option), [])])

    assert isinstance(config, ExperimentConfig)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_validates(name: str) -> None:
    assert isinstance(compose([f"experiment={name}"]), ExperimentConfig)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_opens_with_the_command_that_runs_it(name: str) -> None:
    header, command = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[:2]

    assert (header, command) == ("# @package _global_", f"# python launch.py experiment={name}")


@pytest.mark.parametrize("group", GROUPS)
def test_a_default_lists_every_key_of_its_section_with_the_schemas_default(group: str) -> None:
    expected = {
        key.partition(".")[2]: field.get_default(call_default_factory=True)
        for key, field in keys.fields().items()
        if key.startswith(f"{group}.")
    }
    if group == "model":
        expected["name"] = "???"

    assert read(group, "default") == expected


@pytest.mark.parametrize("group", GROUPS)
def test_a_default_says_what_each_key_is_for(group: str) -> None:
    lines = (CONF / group / "default.yaml").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line and not line.startswith("#") and " # " not in line] == []


@pytest.mark.parametrize(("group", "option"), VARIANTS)
def test_a_variant_states_only_what_differs(group: str, option: str) -> None:
    values, default = read(group, option), read(group, "default")
    values.pop("defaults")
    own = values.get(group, values) if option == "cpu" else values

    assert [key for key, value in own.items() if default[key] == value] == []


def test_top_level_keys_are_those_of_the_schema() -> None:
    values = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    top_level = {section for key in keys.fields() if (section := key.partition(".")[0]) not in GROUPS}

    assert set(values) - {"defaults", "hydra"} == top_level


@cache
def usual() -> ExperimentConfig:
    """Return what is composed where nothing is typed."""
    return compose([])


@pytest.mark.parametrize("key", [key for key in keys.fields() if key != "model.name"])
def test_every_key_can_be_set_without_a_plus(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXVLLM_CACHE", "/cache")  # the usual model is below it
    value = attrgetter(key)(usual())

    assert compose([f"{key}={json.dumps(value)}", "dry_run=false"]) == usual()


def test_an_entry_of_a_mapping_can_be_set_without_a_plus() -> None:
    config = compose(["server.env.NCCL_DEBUG=INFO", "inference.compilation_config.mode=3"])

    assert (config.server.env, config.inference.compilation_config) == ({"NCCL_DEBUG": "INFO"}, {"mode": 3})


def test_an_entry_that_an_option_set_can_be_left_out() -> None:
    config = compose(
        ["inference=cpu", "inference.tensor_parallel_size=2", "server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null"]
    )

    assert config.server.env["VLLM_ENABLE_V1_MULTIPROCESSING"] is None


@pytest.mark.parametrize("prompt", ["Hello!", "What's new? (in short)", "1 + 1 = 2, isn't it?", "100%"])
def test_prose_needs_no_quotes_beside_the_shells(prompt: str) -> None:
    assert compose([f"workload.prompt={prompt}"]).workload.prompt == prompt


def test_a_users_folder_adds_and_shadows_options(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "model"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("defaults: [default]\nname: me/mine\n")
    (folder / "qwen3_8b.yaml").write_text("defaults: [default]\nname: me/shadow\n")

    names = [compose([f"model={option}"], config_dirs=[folder.parent]).model.name for option in ("mine", "qwen3_8b")]

    assert names == ["me/mine", "me/shadow"]


def test_folders_of_the_environment_shadow_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "demo.yaml").write_text("defaults: [default]\nname: me/shadow\n")
    monkeypatch.setenv("MIXVLLM_CONF", str(tmp_path / "mine"))

    assert compose(["model=demo"]).model.name == "me/shadow"


def test_a_variable_of_the_environment_reaches_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUS", "4")

    config = compose(["inference.tensor_parallel_size='${oc.decode:${oc.env:GPUS}}'"])

    assert config.inference.tensor_parallel_size == 4
