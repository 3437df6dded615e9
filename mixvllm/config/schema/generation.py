"""The `generation` section: sampling values for requests that do not state their own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mixvllm.config.schema.fields import LAUNCHER_ONLY, PositiveInt, Section, Word

SERVER_DEFAULTS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""Keys that vLLM honours as defaults of a server.

Source: `ModelConfig.get_diff_sampling_param` of vLLM 0.32; its `max_new_tokens` caps every request.
"""


class GenerationDefaultsConfig(Section):
    """Sampling values; null leaves the choice to the model's own generation_config.

    The bounds are vLLM's own: a default outside them would have every request refused.

    Source: `SamplingParams._verify_args` in vllm/sampling_params.py, 0.32.
    """

    generation_config: Word | None = None
    """Where the server takes the rest from: `auto` (the model), `vllm`, or a folder; null = vLLM's default."""
    temperature: Annotated[float | None, Field(ge=0, le=2), LAUNCHER_ONLY] = None
    """Randomness of the choice; 0 = always the likeliest token."""
    max_tokens: Annotated[PositiveInt | None, LAUNCHER_ONLY] = None
    """Tokens of one answer at the most; sent with requests, vLLM has no default of a server for it."""
    top_p: Annotated[float | None, Field(gt=0, le=1), LAUNCHER_ONLY] = None
    """Probability mass to choose from, (0, 1]."""
    top_k: Annotated[int | None, Field(ge=-1), LAUNCHER_ONLY] = None
    """Likeliest tokens to choose from; 0 or -1 = all."""
    min_p: Annotated[float | None, Field(ge=0, le=1), LAUNCHER_ONLY] = None
    """Least probability, relative to the likeliest token, [0, 1]."""
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2), LAUNCHER_ONLY] = None
    """Added against tokens that have appeared, [-2, 2]."""
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2), LAUNCHER_ONLY] = None
    """Added against tokens by how often they have appeared, [-2, 2]."""
    repetition_penalty: Annotated[float | None, Field(gt=0), LAUNCHER_ONLY] = None
    """Factor against tokens that have appeared; 1 = none."""

    def server_defaults(self) -> dict[str, float | int]:
        """Return what a server can apply by itself, by vLLM's names; empty where nothing is set."""
        values = {name: getattr(self, name) for name in SERVER_DEFAULTS}
        return {name: value for name, value in values.items() if value is not None}

    def request_fields(self) -> dict[str, float | int]:
        """Return what a client sends with each request, by the API's names; empty where nothing is set."""
        limit = {} if self.max_tokens is None else {"max_tokens": self.max_tokens}
        return {**self.server_defaults(), **limit}
