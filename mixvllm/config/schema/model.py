"""The `model` section: which weights are served, and what the model declares of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mixvllm.config.schema.fields import LAUNCHER_ONLY, ExtraArguments, PositiveInt, Section, Word


class ModelConfig(Section):
    """The model to serve.

    Fields that vLLM has an argument for keep vLLM's name; the rest describe the model, so that a configuration
    that cannot work is refused before any weight is read.
    """

    name: Annotated[Word, LAUNCHER_ONLY]
    """Hub id (`org/name`) or local path."""
    revision: Word | None = None
    """Branch, tag or commit of the weights on the hub; null = the default branch."""
    code_revision: Word | None = None
    """Branch, tag or commit of the model's own code, with `trust_remote_code`."""
    tokenizer: Word | None = None
    """Hub id or local path of the tokenizer; null = the model's."""
    tokenizer_revision: Word | None = None
    """Branch, tag or commit of the tokenizer."""
    tokenizer_mode: Word | None = None
    """How the tokenizer is loaded, e.g. `mistral`; null = vLLM decides."""
    trust_remote_code: bool | None = None
    """Run code from the model's repository; needs a pinned `revision` or `trust_unpinned_code`."""
    trust_unpinned_code: Annotated[bool, LAUNCHER_ONLY] = False
    """Accept that the code behind `trust_remote_code` can change at any time."""
    served_model_name: Annotated[Word | list[Word] | None, LAUNCHER_ONLY] = None
    """Name or names that clients use; null = `name`."""
    runner: Literal["auto", "generate", "pooling", "draft"] | None = None
    """What the model does: generate text, or pool (embeddings, scores)."""
    load_format: Word | None = None
    """Format of the weight files, e.g. `safetensors`; null = vLLM decides."""
    config_format: Word | None = None
    """Format of the model's config, e.g. `mistral`; null = vLLM decides."""
    chat_template: Word | None = None
    """Path of a chat template, or the template itself; null = the tokenizer's."""
    tool_call_parser: Word | None = None
    """Parser of the model's tool calls, e.g. `hermes`."""
    enable_auto_tool_choice: bool | None = None
    """Let the model call tools; needs `tool_call_parser`."""
    reasoning_parser: Word | None = None
    """Parser of the model's reasoning text, e.g. `qwen3`."""
    context_length: Annotated[PositiveInt | None, LAUNCHER_ONLY] = None
    """Longest context that the model declares, tokens (`max_position_embeddings`)."""
    num_attention_heads: Annotated[PositiveInt | None, LAUNCHER_ONLY] = None
    """Attention heads that the model declares; tensor_parallel_size must divide it."""
    weights_gib: Annotated[float | None, LAUNCHER_ONLY] = None
    """Size of the weights as published, GiB."""
    recipe: Annotated[Literal["demo"] | None, LAUNCHER_ONLY] = None
    """Make the model at `name` where it is missing: `demo` trains a small one on this machine."""

    extra_args: ExtraArguments = Field(default_factory=dict)
    """vLLM arguments without a key of their own, e.g. `+model.NAME=VALUE` on the command line."""

    @property
    def served_names(self) -> tuple[str, ...]:
        """Names that clients may use, shape (n,), n >= 1; the first is the one in metrics and answers."""
        if self.served_model_name is None:
            return (self.name,)
        return (self.served_model_name,) if isinstance(self.served_model_name, str) else tuple(self.served_model_name)

    @property
    def is_local(self) -> bool:
        """Whether `name` is written as a path, not as a hub id."""
        return Path(self.name).is_absolute() or self.name.startswith(("./", "../", "~"))
