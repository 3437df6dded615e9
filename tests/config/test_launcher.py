"""The launcher of a sweep and its options, from overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mixvllm.config.load.launcher import launcher_kind, launcher_name, local_launcher, slurm_launcher
from mixvllm.config.load.session import shipped_conf
from mixvllm.config.schema.launcher import LocalLauncherConfig, SlurmLauncherConfig
from mixvllm.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "name"),
    [([], "local"), (["hydra/launcher=basic"], "basic"), (["hydra/launcher=basic", "hydra/launcher=local"], "local")],
)
def test_the_launcher_is_the_last_that_was_named(overrides: list[str], name: str) -> None:
    assert launcher_name(overrides) == name


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ([], LocalLauncherConfig()),
        (["hydra/launcher=local", "hydra.launcher.slots=2"], LocalLauncherConfig(slots=2)),
        (["hydra.launcher.gpus=[0,GPU-a]"], LocalLauncherConfig(gpus=[0, "GPU-a"])),
        (["++hydra.launcher.gpus=auto"], LocalLauncherConfig()),
    ],
)
def test_options_are_read_from_overrides(overrides: list[str], options: LocalLauncherConfig) -> None:
    assert local_launcher(overrides) == options


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra.launcher.gpus=[]", "at least 1"),
        ("hydra.launcher.gpus=[0,1,0]", "each GPU once"),
        ("hydra.launcher.gpus=[0", "a list is written"),
        ("hydra.launcher.slots=0", "at least 1"),
        ("hydra.launcher.gpu=[0]", "there are hydra.launcher.gpus, hydra.launcher.slots"),
        ("hydra.sweep.dir=elsewhere", "no meaning for hydra/launcher=local"),
    ],
)
def test_wrong_options_are_refused_in_words(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        local_launcher([override])

    assert words in str(refused.value)
    assert refused.value.faults[0].path.startswith("hydra.")


def test_the_file_of_slurm_lists_every_key_with_the_schemas_default() -> None:
    values = yaml.safe_load((shipped_conf() / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8"))

    assert values == SlurmLauncherConfig().model_dump()


def test_the_file_of_slurm_says_what_each_key_is_for() -> None:
    lines = (shipped_conf() / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not line.startswith("#") and " # " not in line] == []


def test_a_users_file_for_a_cluster_extends_slurm(tmp_path: Path) -> None:
    file = tmp_path / "hydra" / "launcher" / "mycluster.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [slurm, _self_]\npartition: gpu\nadditional_parameters: {nice: 5}\n")
    typed = ["hydra/launcher=mycluster", "hydra.launcher.qos=high", "hydra.launcher.additional_parameters.licenses=a:1"]

    assert launcher_kind(typed, [tmp_path]) == "slurm"
    assert slurm_launcher(typed, [tmp_path]) == SlurmLauncherConfig(
        partition="gpu", qos="high", additional_parameters={"nice": 5, "licenses": "a:1"}
    )


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ([], "local"),
        (["hydra/launcher=slurm"], "slurm"),
        (["hydra/launcher=basic"], "hydra"),
        (["hydra/launcher=no_such"], "hydra"),
    ],
)
def test_a_launcher_that_is_not_ours_is_hydras(overrides: list[str], kind: str) -> None:
    assert launcher_kind(overrides) == kind


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("hydra.launcher.timeout_min=3", "less than half of timeout_min=3"),
        ("hydra.launcher.partitions=a", "did you mean hydra.launcher.partition?"),
        ("hydra.launcher.additional_parameters={array: 3}", "the launcher sets it"),
        ("hydra.launcher.additional_parameters={--nice: 3}", "without dashes"),
        ('hydra.launcher.comment="a\\nb"', "one line"),
        ("hydra.launcher.exclusive=maybe", "must be one of"),
    ],
)
def test_wrong_options_of_slurm_are_refused_in_words(override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        slurm_launcher([override])

    assert words in str(refused.value)
