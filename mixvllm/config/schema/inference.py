"""The `inference` section: how the engine runs the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mixvllm.config.schema.fields import ExtraArguments, HumanInt, MaxModelLen, PositiveInt, Section, Word


class InferenceConfig(Section):
    """Engine arguments, under vLLM's own names; null means vLLM's own default, and does not reach its argv.

    Numbers that vLLM reads with a suffix (`8k`, `1.5g`) may be written so here.
    """

    tensor_parallel_size: PositiveInt = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: PositiveInt = 1
    """Groups of GPUs that hold successive layers."""
    data_parallel_size: PositiveInt = 1
    """Copies of the model behind one address."""
    nnodes: PositiveInt = 1
    """Nodes of a cluster that one server spans; each has the same number of its GPUs."""
    enable_expert_parallel: bool | None = None
    """Spread a mixture's experts over the GPUs instead of splitting each."""
    distributed_executor_backend: Literal["mp", "ray", "uni", "external_launcher"] | None = None
    """What runs the workers of one engine."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of each GPU's memory that the engine may use, (0, 1]."""
    kv_cache_memory_bytes: HumanInt | None = None
    """Bytes of KV cache per GPU; replaces the estimate behind gpu_memory_utilization."""
    kv_cache_dtype: Word | None = None
    """Type of the KV cache, e.g. `fp8`."""
    block_size: PositiveInt | None = None
    """Tokens in one block of the KV cache."""
    max_model_len: MaxModelLen | None = None
    """Longest prompt plus answer, tokens; -1 or `auto` = the longest that fits."""
    max_num_seqs: PositiveInt | None = None
    """Sequences in one batch at the most."""
    max_num_batched_tokens: HumanInt | None = None
    """Tokens in one step of the scheduler at the most."""
    enable_prefix_caching: bool | None = None
    """Keep the KV cache of shared prompt prefixes."""
    enable_chunked_prefill: bool | None = None
    """Split long prompts over several steps."""
    async_scheduling: bool | None = None
    """Schedule the next step while the current one runs."""
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    """Type of weights and activations."""
    quantization: Word | None = None
    """Quantization method, e.g. `awq`, `fp8`; null = what the checkpoint says."""
    enforce_eager: bool | None = None
    """Skip compilation and CUDA graphs: starts sooner, runs slower."""
    cpu_offload_gb: Annotated[float, Field(ge=0)] | None = None
    """GiB of weights per GPU kept in host memory."""
    attention_backend: Word | None = None
    """Attention kernel, e.g. `FLASH_ATTN`."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the engine's random numbers."""
    cudagraph_capture_sizes: list[PositiveInt] | None = None
    """Batch sizes to capture CUDA graphs for."""
    limit_mm_per_prompt: dict[str, Any] | None = None
    """Images, videos … in one prompt at the most, per kind."""
    hf_overrides: dict[str, Any] | None = None
    """Values that replace those of the model's own config."""
    compilation_config: dict[str, Any] | None = None
    """Compilation settings, e.g. `{mode: 3}`."""
    speculative_config: dict[str, Any] | None = None
    """Speculative decoding, e.g. `{method: ngram, num_speculative_tokens: 4}`."""

    extra_args: ExtraArguments = Field(default_factory=dict)
    """vLLM arguments without a key of their own, e.g. `+inference.NAME=VALUE` on the command line."""

    @property
    def num_gpus(self) -> int:
        """GPUs that one server takes."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size
