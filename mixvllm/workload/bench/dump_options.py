"""Describes the options of `vllm bench serve` of the interpreter that runs this file, as one JSON object on stdout.

Standard library and vLLM only: the serving interpreter may not have mixvllm.
"""

import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

_DUMP_RELEASE = Path(__file__).parents[2] / "vllm" / "dump_release.py"
_RANDOM_DEFAULTS = ("request_id_prefix",)


def describe_options() -> dict[str, Any]:
    """Return every option by name, as `dump_release.py` describes the arguments of the server."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    describe_argument = runpy.run_path(str(_DUMP_RELEASE))["describe_argument"]
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm bench serve")
    importlib.import_module("vllm.benchmarks.serve").add_cli_args(parser)
    options = {
        action.dest: describe_argument(action, group.title or "")
        for group in parser._action_groups
        for action in group._group_actions
        if action.option_strings and action.dest != "help"
    }
    for name, option in options.items():
        if name in _RANDOM_DEFAULTS:
            option["default"] = None
        if option["choices"]:
            option["choices"].sort()  # some are sets
    return {"release": importlib.import_module("vllm").__version__, "arguments": options, "environment": []}


if __name__ == "__main__":
    sys.path.pop(0)  # this file's own folder, whose modules have names of their own
    stdout, sys.stdout = sys.stdout, sys.stderr  # what vLLM prints on import must not mix with the answer
    json.dump(describe_options(), stdout, indent=1)
