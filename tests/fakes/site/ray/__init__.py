"""A fake of Ray: what starts its processes on a node."""
