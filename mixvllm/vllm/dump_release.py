"""Describes what the vLLM of the interpreter that runs this file accepts, as one JSON object on stdout.

`release`: its version. `arguments`: every argument of `vllm serve` by name. `environment`: the names of its variables.
Standard library and vLLM only: the serving interpreter may not have mixvllm. Takes as long as importing vLLM does.
"""

import argparse
import json
import os
import sys
from typing import Any

KINDS = {
    "int": "int",
    "float": "float",
    "human_readable_int": "human_int",
    "human_readable_int_or_auto": "human_int_or_auto",
    "loads": "json",
    "parse_dataclass": "json",
    "_parse_type": "json",
    "union_dict_and_str": "json_or_str",
}
"""Kind of an argument by the name of the function that vLLM's parser reads it with; anything else is text."""


def reader_name(reader: Any) -> str:
    """Return the name of the function that reads a value; vLLM wraps those of optional arguments in a closure."""
    inner = [cell.cell_contents for cell in getattr(reader, "__closure__", None) or () if callable(cell.cell_contents)]
    if "optional_type" in getattr(reader, "__qualname__", "") and inner:
        return reader_name(inner[0])
    return getattr(reader, "__name__", "str")


def kind_of(action: argparse.Action) -> str:
    """Return what values the argument takes."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return "switch"
    if action.nargs == 0:
        return "flag"
    if type(action).__name__ == "LoRAParserAction":
        return "json_or_str"
    return KINDS.get(reader_name(action.type), "str")


def plain(value: Any) -> Any:
    """Return `value` as JSON has it, or its text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def describe_argument(action: argparse.Action, group: str) -> dict[str, Any]:
    """Return one argument in plain values."""
    return {
        "flags": action.option_strings,
        "kind": kind_of(action),
        "is_list": action.nargs in ("+", "*"),
        "is_repeated": type(action).__name__ == "_AppendAction",
        "choices": [plain(choice) for choice in action.choices] if action.choices else None,
        "default": None if action.default is argparse.SUPPRESS else plain(action.default),
        "group": group,
        "help": " ".join((action.help or "").split()),
    }


def describe_release() -> dict[str, Any]:
    """Return everything that `vllm serve` accepts."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    sys.argv = ["vllm", "serve", "--help"]  # vLLM reads its help texts from its sources only when it sees this
    import vllm
    from vllm import envs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    try:
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
    except ImportError:  # before 0.30
        from vllm.entrypoints.openai.cli_args import make_arg_parser

    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    arguments = {
        action.dest: describe_argument(action, group.title or "")
        for group in parser._action_groups
        for action in group._group_actions
        if action.option_strings and not isinstance(action, argparse._HelpAction)
    }
    return {"release": vllm.__version__, "arguments": arguments, "environment": sorted(envs.environment_variables)}


if __name__ == "__main__":
    stdout, sys.stdout = sys.stdout, sys.stderr  # what vLLM prints on import must not mix with the answer
    json.dump(describe_release(), stdout)
