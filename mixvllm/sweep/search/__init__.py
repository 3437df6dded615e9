"""A search in place of a grid: points are chosen from what was measured, until enough were tried."""
