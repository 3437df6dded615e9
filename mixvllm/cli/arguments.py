"""The launcher's arguments: a few flags, in any order between overrides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from mixvllm.errors import ConfigError, Fault


@dataclass(frozen=True)
class Arguments:
    """What was typed.

    Args:
        overrides: `group=option` and `key=value`, shape (n,).
        config_dirs: folders with the user's own options, first one wins.
        show: `help`, `version`, `config`, `multirun`, or None for a run.
    """

    overrides: tuple[str, ...]
    config_dirs: tuple[str, ...]
    show: str | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        what, is_list, words = message.partition("unrecognized arguments: ")
        flags = [word.partition("=")[0] for word in words.split() if word.startswith("-")]  # a value may be a secret
        shown = f"{what}{is_list}{' '.join(flags) or '…'}" if is_list else message
        raise ConfigError([Fault("", f"{shown}; --help lists the flags", origin="the command line")])


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Return what `argv` asks for.

    Raises:
        ConfigError: an unknown flag.
    """
    parser = _Parser(prog="launch.py", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    show = parser.add_mutually_exclusive_group()
    for flags, name in ((("--help", "-h"), "help"), (("--version",), "version"), (("--multirun", "-m"), "multirun")):
        show.add_argument(*flags, dest="show", action="store_const", const=name)
    show.add_argument("--cfg", "-c", dest="show", action="store_const", const="config")
    found = parser.parse_intermixed_args(list(argv))
    return Arguments(tuple(found.overrides), tuple(found.config_dir), found.show)
