"""The `sweep` section: which points a sweep has, and how it goes on. No part of what a point asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from mixvllm.config.schema.fields import PositiveInt, Section

FolderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


Direction = Literal["maximize", "minimize"]


def _objective(value: dict[str, Direction], info: ValidationInfo) -> dict[str, Direction]:
    if info.data.get("search") is not None and not value:
        words = (
            "must be given with sweep.search: sweep.objective='{output_tokens_per_s: maximize, p99_ttft_ms: minimize}'"
        )
        raise ValueError(words)
    return value


class SweepConfig(Section):
    """What is done under `--multirun` beside the points themselves."""

    name: FolderName | None = None
    """Name of its folder below `<output_dir>/sweeps`; one that is there goes on. null = the time."""
    where: Annotated[str, Field(min_length=1)] | None = None
    """Condition over the keys of a point; points where it is false are left out."""
    zip: list[str] | list[list[str]] = Field(default_factory=list)
    """Swept keys that vary together, not each with each: [k1,k2], or [[k1,k2],[k3,k4]]."""
    on_invalid: Literal["refuse", "skip"] = "refuse"
    """A point is not valid: refuse = nothing starts, skip = the others do."""
    fail_fast: bool = False
    """Stop at the first point that fails."""
    rerun: Literal["failed", "invalid", "all"] | None = None
    """Repeats that are done once more, though they have a result; null = none."""
    warm_start: Literal["auto", "on", "off"] = "auto"
    """Fork servers from an interpreter that has imported vLLM: auto = where several of one kind follow each other."""
    skip_infeasible: bool = False
    """Leave out points that this machine cannot run, instead of stopping before the first one."""
    track: list[Literal["mlflow", "wandb"]] = Field(default_factory=list)
    """Trackers that are told of the results at the end; their environment variables say where they are."""
    search: Literal["optuna"] | None = None
    """Try some points of the grid instead of all: optuna chooses them from what was measured."""
    objective: Annotated[dict[str, Direction], AfterValidator(_objective), Field(validate_default=True)] = Field(
        default_factory=dict
    )
    """What a search looks for: metrics, as results.csv names them, with maximize or minimize; several = their front."""
    num_trials: PositiveInt = 20
    """Points that a search tries, with those that cannot be measured."""
    budget_min: Annotated[float, Field(gt=0)] | None = None
    """Minutes after which a search tries no further point; null = no limit."""
