"""The command line: composes, shows, and maps how a run ended to an exit code."""
