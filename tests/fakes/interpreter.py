"""A Python interpreter in which `vllm` is the fake one."""

import json
import shlex
import sys
from pathlib import Path

SITE = Path(__file__).parent / "site"

_PROGRAM = """\
#!/bin/sh
# A Python in which the package vllm is a fake; what PYTHONPATH holds already stays behind it.
PYTHONPATH={site}${{PYTHONPATH:+:$PYTHONPATH}}
if [ -z "${{FAKE_VLLM:-}}" ]; then FAKE_VLLM={script}; fi
export PYTHONPATH FAKE_VLLM
exec {python} "$@"
"""


def make_interpreter(directory: Path, **script: object) -> Path:
    """Return a program in `directory` that a test gives as `server.python`.

    Args:
        directory: where the program is written; made if it is missing.
        script: keys of `fake_vllm.script.Script`; used where the environment sets no `FAKE_VLLM`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "python"
    program.write_text(
        _PROGRAM.format(
            site=shlex.quote(str(SITE)), script=shlex.quote(json.dumps(script)), python=shlex.quote(sys.executable)
        )
    )
    program.chmod(0o755)
    return program
