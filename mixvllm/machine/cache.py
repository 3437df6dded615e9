"""Where mixvllm keeps what it made once for all runs of this user."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `MIXVLLM_CACHE`, or `~/.cache/mixvllm`; it may not exist yet."""
    return Path(os.environ.get("MIXVLLM_CACHE") or Path.home() / ".cache" / "mixvllm")
