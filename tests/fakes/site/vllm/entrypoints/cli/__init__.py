"""The command line of the fake vLLM."""
