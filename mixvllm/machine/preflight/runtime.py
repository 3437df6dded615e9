"""The runtime: is there on this machine what the engine's command is wrapped in?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from mixvllm.config.schema import ServeConfig
from mixvllm.machine.preflight.check import Check, error, ok
from mixvllm.runtime.lacks import find_lacks
from mixvllm.runtime.mounts import named_mounts, needed_mounts


def check_runtime(config: ServeConfig) -> Iterator[Check]:
    """Yield what is to be said of the runtime; nothing of a local one, which was asked for its vLLM before."""
    runtime = config.runtime
    if runtime.kind == "local":
        return
    lacks = find_lacks(runtime, os.environ)
    for lack in lacks:
        yield error("runtime", lack.finding, lack.mend)
    if not lacks:
        mounted = ", ".join(mount.text for mount in (*named_mounts(runtime), *needed_mounts(config)))
        sees = f"; of this machine it sees {mounted}, and caches" if runtime.is_container and mounted else ""
        yield ok("runtime", f"{runtime.kind}: {runtime.image or ', '.join(runtime.modules)}{sees}")
