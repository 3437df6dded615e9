"""The `workload` section: what is done with a server that is ready."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mixvllm.config.schema.fields import Section


class WorkloadConfig(Section):
    """What a run does once its server is ready."""

    kind: Literal["serve", "probe"] = "serve"
    """serve: until it is told to stop. probe: one answer, then stop."""
    prompt: Annotated[str, Field(min_length=1)] = "Who are you?"
    """What `probe` asks."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds until a request of `probe` must have been answered."""
