"""Options of the launchers of a sweep: `hydra/launcher=…`, `hydra.launcher.NAME=VALUE`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mixvllm.config.schema.fields import PositiveInt, Section


def _each_once(gpus: list[int | str]) -> list[int | str]:
    if len({str(gpu) for gpu in gpus}) < len(gpus):
        raise ValueError("must name each GPU once: two servers on one would measure each other")
    return gpus


class LocalLauncherConfig(Section):
    """A sweep on this machine."""

    gpus: Literal["auto"] | Annotated[list[int | str], Field(min_length=1), AfterValidator(_each_once)] = "auto"
    """Those that may be used; auto = all that are visible."""
    slots: PositiveInt = 1
    """On a machine without GPUs: servers that run at once, each on its share of the cores."""
