"""Which vLLM the schema is of."""

SUPPORTED_RELEASE = "0.32.0"
"""The release that the schema's typed keys are tested against."""
