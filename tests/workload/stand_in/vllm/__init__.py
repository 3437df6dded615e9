"""A stand-in for vLLM that has a load generator only; see `vllm.benchmarks.serve`."""

__version__ = "0.32.0"
