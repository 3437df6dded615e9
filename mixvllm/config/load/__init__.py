"""Composition: the one place that knows Hydra and OmegaConf."""

from mixvllm.config.load.compose import Composed, compose, load_experiment

__all__ = ["Composed", "compose", "load_experiment"]
