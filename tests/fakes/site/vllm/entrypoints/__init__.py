"""Entry points of the fake vLLM."""
