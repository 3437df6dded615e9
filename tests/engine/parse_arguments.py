"""Run by the serving interpreter: parses command lines with vLLM's own parser. JSON on stdin, JSON on stdout.

Input: a list of argument lists, each as after `vllm serve`. Output: `parsed`, a list of mappings from name to value;
`defaults`, the same for no argument at all. Values that JSON does not have are given as text.
"""

import json
import sys

stdout, sys.stdout = sys.stdout, sys.stderr

from vllm.entrypoints.launchers.cli_args import make_arg_parser  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402

parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))


def values(arguments: list[str]) -> dict[str, object]:
    """Return the namespace that `arguments` parse to, or why they do not."""
    try:
        return vars(parser.parse_args(arguments))
    except SystemExit:
        return {"refused": arguments}


commands = json.load(sys.stdin)
answer = {"parsed": [values(command) for command in commands], "defaults": values([])}
json.dump(answer, stdout, default=str)
