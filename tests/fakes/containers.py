"""Programs that stand in for `apptainer`, and for `srun` with the plugin pyxis, and images for them.

They read their options as strictly as the real ones, refuse mounts that are not there, and give the command only what
the real ones would: of the environment, and of the file system, as far as the words of the command tell.
"""

from __future__ import annotations

import os
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


def make_release(image: Path, version: str, flags: list[str]) -> Path:
    """Return an unpacked image whose `vllm` has this version, and takes these flags; made anew where it is there."""
    site = image / "site"
    texts = {
        f"vllm-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n",
        "vllm/__init__.py": f"__version__ = {version!r}\n",
        "vllm/envs.py": "environment_variables = {'VLLM_HOST_IP': None, 'VLLM_API_KEY': None}\n",
        "vllm/utils/__init__.py": "",
        "vllm/utils/argparse_utils.py": "from argparse import ArgumentParser as FlexibleArgumentParser\n",
        "vllm/entrypoints/__init__.py": "",
        "vllm/entrypoints/cli/__init__.py": "",
        "vllm/entrypoints/cli/main.py": "",
        "vllm/entrypoints/launchers/__init__.py": "",
        "vllm/entrypoints/launchers/cli_args.py": _PARSER.format(flags=[*_TYPED, *flags]),
    }
    for name, text in texts.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    python = image / "bin" / "python3"
    python.parent.mkdir(exist_ok=True)
    python.write_text(f'#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={site} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    os.utime(image)
    return image


_TYPED = ("--host", "--port", "--served-model-name", "--disable-access-log-for-endpoints", "--shutdown-timeout")
_PARSER = """\
def make_arg_parser(parser):
    for flag in {flags}:
        parser.add_argument(flag)
    return parser
"""
