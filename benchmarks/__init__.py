"""Benchmarks against real programs; each one states its goals and exits with 0 only where they are met."""
