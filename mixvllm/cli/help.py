"""The text of --help: short, and made from the groups that are really there."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

_WIDTH = 100

_USAGE = """\
Launch one vLLM server from composed, validated configuration.

  python launch.py [group=option …] [key=value …]

  python launch.py model=llama3_8b inference.tensor_parallel_size=4
  python launch.py model=demo inference=cpu workload=probe     start, ask once, stop
  python launch.py experiment=demo_cpu                         a whole run by name
  python launch.py model=qwen3_8b dry_run=true                 print the command, start nothing
"""

_FLAGS = """\
Flags
  --cfg             show the composed configuration, start nothing
  --config-dir DIR  use your own options: DIR/model/mine.yaml becomes model=mine, and comes before a shipped one
  --version         show the version
  --help            show this

Keys are those of --cfg; conf/<group>/default.yaml tells what each is for. Ctrl-C stops a server.
"""


def help_text(groups: Mapping[str, list[str]]) -> str:
    """Return the help, with the options of each group in `groups`."""
    shown = {name: options for name, options in groups.items() if "/" not in name}
    width = max(map(len, shown), default=0)
    lines = [_wrapped(name.ljust(width), options) for name, options in shown.items()]
    return "\n".join([_USAGE, "Groups and their options", *lines, "", _FLAGS])


def _wrapped(name: str, options: list[str]) -> str:
    listed = ", ".join(option for option in options if option != "default")
    return textwrap.fill(listed, _WIDTH, initial_indent=f"  {name}  ", subsequent_indent=" " * (len(name) + 4))
