"""From a configuration to a frozen point, and the one runner that executes it."""
