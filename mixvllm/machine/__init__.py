"""What this machine has: GPUs, ports, sources under version control."""

GIB = 1 << 30
"""Bytes in a GiB."""
