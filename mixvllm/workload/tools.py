"""Finding the tools that measure, which are installed by the user."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from typing import NamedTuple

from mixvllm.errors import WorkloadFailed

_ASK_TIMEOUT_S = 60.0  # an interpreter on a cold network file system
_HAS_MODULE = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"


class Tool(NamedTuple):
    """A tool.

    Args:
        program: its name on the PATH.
        module: what `python -m` starts it by.
        package: what pip installs it by.
    """

    program: str
    module: str
    package: str


def find_tool(tool: Tool, python: str | None, environment: Mapping[str, str]) -> list[str]:
    """Return the beginning of the command line of `tool`, from the interpreter `python` or from the PATH.

    Raises:
        WorkloadFailed: it is not installed there.
    """
    if python is None:
        program = shutil.which(tool.program, path=environment.get("PATH"))
        if program is not None:
            return [program]
        raise WorkloadFailed(
            f"{tool.program} is not on the PATH\n  next: pip install '{tool.package}', "
            f"in a venv of its own if you like: workload.python=/path/to/python"
        )
    if not _has_module(python, tool.module, environment):
        raise WorkloadFailed(f"{python} has no {tool.module}\n  next: {python} -m pip install '{tool.package}'")
    return [python, "-m", tool.module]


def _has_module(python: str, module: str, environment: Mapping[str, str]) -> bool:
    command = [python, "-c", _HAS_MODULE, module]
    try:
        done = subprocess.run(command, env=dict(environment), timeout=_ASK_TIMEOUT_S, capture_output=True, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkloadFailed(f"workload.python={python} cannot be asked for {module}: {error}") from error
    return done.returncode == 0
