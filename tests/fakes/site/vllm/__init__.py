"""The fake vLLM: the names a launcher runs; the behaviour is in `fake_vllm`."""

__version__ = "0.32.0"
