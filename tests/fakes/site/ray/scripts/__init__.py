"""The command line of the fake Ray."""
