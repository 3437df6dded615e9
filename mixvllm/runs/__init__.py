"""The run folder: what is in it, under which name, and how it is written."""
