"""Programs that stand in for the real ones in the fast tests."""
