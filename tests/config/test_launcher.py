"""The launcher of a sweep and its options, from overrides."""

from __future__ import annotations

import pytest

from mixvllm.config.load.launcher import launcher_name, local_launcher
from mixvllm.config.schema.launcher import LocalLauncherConfig
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
