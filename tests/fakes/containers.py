"""Programs that stand in for `apptainer`, and for `srun` with the plugin pyxis, and images for them.

They read their options as strictly as the real ones, refuse mounts that are not there, and give the command only what
the real ones would: of the environment, and of the file system, as far as the words of the command tell.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fakes.interpreter import make_interpreter

_PROGRAM = Path(__file__).with_name("container_program.py")


def make_image(folder: Path, **script: object) -> Path:
    """Return an unpacked image whose `python3` has the fake vLLM; `script` as for `make_interpreter`."""
    (folder / "bin").mkdir(parents=True)
    make_interpreter(folder / "bin", **script).rename(folder / "bin" / "python3")
    return folder


def make_program(folder: Path, name: str) -> Path:
    """Return the program `name` in `folder`, for the PATH: apptainer, singularity or srun.

    What it was called with is appended, a JSON object a line, to `calls` beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {_PROGRAM} {program} "$@"\n')
    program.chmod(0o755)
    return program
