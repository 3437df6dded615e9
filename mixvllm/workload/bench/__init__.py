"""The workload `bench`: what vLLM's own load generator is told, and whether its numbers can be trusted."""
