"""How modules of this package are run as programs of their own."""

from __future__ import annotations

import sys
from pathlib import Path

_PACKAGE_FOLDER = Path(__file__).parents[2]


def module_argv(module: str, argument: str) -> list[str]:
    """Return the command that calls `main(argument)` of a module of this package, in this interpreter.

    It finds this very package, also in a checkout that is not installed, and nothing in the folder that it runs in.
    """
    program = f"import sys; sys.path.insert(0, sys.argv[1]); from {module} import main; main(sys.argv[2])"
    return [sys.executable, "-P", "-c", program, str(_PACKAGE_FOLDER), argument]
