"""Configuration: the schema, and the ways to a validated one."""
