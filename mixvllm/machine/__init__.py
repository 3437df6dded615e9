"""What this machine has: GPUs, ports, sources under version control."""
