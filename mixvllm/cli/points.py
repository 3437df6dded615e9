"""From what was composed to a point that this machine can run; in the foreground, detached, and at a reload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mixvllm.cli.preflight import look_ahead
from mixvllm.config.load import Composed, load_experiment
from mixvllm.config.load.overrides import merge_overrides
from mixvllm.sweep.point import Point, freeze
from mixvllm.sweep.reload import Recompose
from mixvllm.vllm.installation import installation_of


def point_of(composed: Composed, say: Callable[[str], None], *, is_serving: bool = False) -> Point:
    """Return the point that `composed` asks for, after a look at this machine.

    Args:
        say: told what takes long.
        is_serving: whether a server that it replaces holds its GPUs and its port still.

    Raises:
        ConfigError: the vLLM that would serve refuses it.
        PreflightFailed: this machine lacks something for it.
    """
    config = composed.config
    with composed.naming_origins():
        point = freeze(config, composed.overrides, installation_of(config, say), say)
    look_ahead(config, point.installation, point.command, is_serving=is_serving)
    return point


def recomposer(config_dirs: Sequence[str | Path], say: Callable[[str], None]) -> Recompose:
    """Return what composes a run anew, from files as they are then; of two overrides of a key the later one holds."""

    def recompose(overrides: Sequence[str]) -> Point:
        return point_of(load_experiment(merge_overrides(overrides), config_dirs), say, is_serving=True)

    return recompose
