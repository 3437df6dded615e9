"""What is composed without Hydra's own node equals what Hydra composes."""

from __future__ import annotations

import hydra
import pytest
from omegaconf import OmegaConf

from mixvllm.config.load.hydra_tree import compose_tree
from mixvllm.config.load.session import CONFIG_NAME, hydra_session
from tests.config.test_options import EXPERIMENTS, OPTIONS

OVERRIDES = [
    *[[f"{group}={option}"] for group, option in OPTIONS],
    *[[f"experiment={name}"] for name in EXPERIMENTS],
    ["experiment=demo_cpu", "model=qwen3_8b", "inference.seed=3"],
    ["++server.env.A=b", "++inference.extra_args.max_loras=2", "generation.temperature=0.5"],
    ["inference.seed=${inference.max_num_seqs}", "output_dir=/x"],
    ["hydra.job.name=other"],
]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_the_composition_equals_hydras_own(overrides: list[str]) -> None:
    with hydra_session() as loader:
        ours, hydras = compose_tree(overrides, loader), hydra.compose(CONFIG_NAME, overrides)

    assert OmegaConf.to_container(ours) == OmegaConf.to_container(hydras)
    assert OmegaConf.is_struct(ours)
