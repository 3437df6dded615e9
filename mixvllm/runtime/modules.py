"""Environment modules: the shell line that loads them and becomes the command, and the file that defines `module`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from mixvllm.config.schema.runtime import RuntimeConfig

_FILES = ("/etc/profile.d/lmod.sh", "/etc/profile.d/z00_lmod.sh", "/etc/profile.d/modules.sh")
_OF_VARIABLES = {"LMOD_PKG": "init/bash", "MODULESHOME": "init/bash"}
_USUAL = ("/usr/share/lmod/lmod/init/bash", "/usr/share/modules/init/bash", "/usr/share/Modules/init/bash")


def modules_argv(runtime: RuntimeConfig, argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the command that loads the modules and becomes `argv`: no shell is left between."""
    init = find_init(runtime, environment) or "modules.sh"
    steps = [f". {quote(init)}", *(f"module load {quote(name)}" for name in runtime.modules)]
    script = " && ".join([*steps, 'exec "$@"'])
    return ["bash", "--noprofile", "--norc", "-c", script, "mixvllm", *argv]


def find_init(runtime: RuntimeConfig, environment: Mapping[str, str]) -> str | None:
    """Return the shell file that defines `module`, or None where this machine has none."""
    if runtime.module_init is not None:
        return runtime.module_init
    named = [f"{environment[name]}/{rest}" for name, rest in _OF_VARIABLES.items() if environment.get(name)]
    return next(
        (file for file in (*named, *_FILES, *_USUAL) if Path(file).is_file() and os.access(file, os.R_OK)), None
    )
