"""The workload `bench`: vLLM's own load generator, kept warm, and whether its numbers can be trusted."""
