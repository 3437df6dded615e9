"""What became of runs and sweeps, read from their folders alone: one study, and what is made of it."""
