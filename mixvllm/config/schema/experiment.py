"""A whole configuration: one server (`ServeConfig`), or one run with it (`ExperimentConfig`)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field, model_validator

from mixvllm.config.schema import rules
from mixvllm.config.schema.fields import Section
from mixvllm.config.schema.generation import GenerationDefaultsConfig
from mixvllm.config.schema.inference import InferenceConfig
from mixvllm.config.schema.model import ModelConfig
from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.config.schema.server import ServerConfig
from mixvllm.config.schema.sweep import SweepConfig
from mixvllm.config.schema.workload import WorkloadConfig


class ServeConfig(Section):
    """Everything that decides how one server runs.

    Raises:
        pydantic.ValidationError: a value is wrong, or two values do not go together (`RuleViolations` in its context).
    """

    model_config = ConfigDict(populate_by_name=True)

    model: ModelConfig
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    server: ServerConfig = Field(default_factory=ServerConfig)
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    generation: Annotated[
        GenerationDefaultsConfig, Field(validation_alias=AliasChoices("generation", "generation_defaults"))
    ] = Field(default_factory=GenerationDefaultsConfig)

    @property
    def generation_on_server(self) -> dict[str, float | int]:
        """Sampling defaults that the server itself applies, by vLLM's names."""
        return self.generation.server_defaults()

    @property
    def num_gpus(self) -> int:
        """GPUs that it takes, all replicas together."""
        return self.inference.num_gpus * self.server.replicas

    def num_gpus_on_each(self, num_nodes: int) -> int:
        """Return the GPUs that it takes on each of `num_nodes` nodes that are there for it."""
        return self.num_gpus // self.num_nodes_of(num_nodes)

    def num_nodes_of(self, num_nodes: int) -> int:
        """Return on how many of `num_nodes` nodes it runs, so that each has the same share of it."""
        if self.inference.nnodes > 1:
            return self.inference.nnodes
        return max(number for number in range(1, num_nodes + 1) if self.server.replicas % number == 0)

    @model_validator(mode="after")
    def _values_go_together(self) -> Self:
        rules.check(self.model, self.inference, self.server, self.runtime)
        return self


class ExperimentConfig(ServeConfig):
    """One run: a server and what is done with it."""

    workload: WorkloadConfig = Field(default_factory=WorkloadConfig)
    sweep: SweepConfig = Field(default_factory=SweepConfig)
    output_dir: Annotated[str, Field(min_length=1)] = "outputs"
    """Folder that run folders are made in."""
    preflight: Literal["off", "warn", "strict"] = "strict"
    """What this machine lacks for the run: strict = an error stops it, warn = it is only shown, off = not looked at."""
    detach: bool = False
    """Return once the server is ready, or has failed; it lives on after the terminal is closed."""
    submit: Literal["local", "slurm"] = "local"
    """Where it runs: local = here, slurm = in a job of the cluster; hydra.launcher.NAME=VALUE says what that takes."""
    dry_run: bool = False
    """Start nothing; print the command that would be."""

    @property
    def generation_on_server(self) -> dict[str, float | int]:
        """Sampling defaults that the server applies; other workloads than `serve` send them with each request."""
        return self.generation.server_defaults() if self.workload.kind == "serve" else {}

    @model_validator(mode="after")
    def _workload_goes_together(self) -> Self:
        rules.check_workload(self.generation, self.workload)
        return self
