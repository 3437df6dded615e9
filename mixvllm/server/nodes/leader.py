"""What the leaders of servers of several parts have in common."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mixvllm.errors import MixvllmError
from mixvllm.runtime.wrapper import Wrapped, Wrapper

TICK_S = 0.05
"""Seconds between two looks at the parts."""


def end_with(run: Callable[[], int]) -> NoReturn:
    """End this program with what `run` returns; with 1, and its words, where it raises an error of ours."""
    try:
        code = run()
    except MixvllmError as error:
        sys.stderr.write(f"error: {error}\n")
        code = 1
    sys.exit(code)


def noted_signals() -> list[int]:
    """Return a list that grows by each signal that asks for an end, so that they are passed on in order."""
    noted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: noted.append(number))
    return noted


def wrap(record: Mapping[str, Any], argv: Sequence[str], environment: Mapping[str, str]) -> Wrapped:
    """Return the command of a part in its runtime on this node.

    Args:
        record: of the wrapper; empty where there is none.
        argv: as it is inside.
        environment: whole, as it would be on the host.
    """
    if not record:
        return Wrapped(tuple(argv), dict(environment))
    wrapper = Wrapper.of_record(record)
    wrapper.make_folders(environment)
    return wrapper.server(argv, environment)


def start_part(
    record: Mapping[str, Any], argv: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a part of the server here; see `wrap`."""
    wrapped = wrap(record, argv, environment)
    return subprocess.Popen(wrapped.argv, stdin=subprocess.DEVNULL, env=wrapped.environment)


def share_ports() -> None:
    """Have ports leased beside those of all launchers of this user: `TMPDIR` is this server's own, two below theirs."""
    tempfile.tempdir = str(Path(os.environ["TMPDIR"]).parents[1])


def exit_code(status: int) -> int:
    """Return a child's exit status, negative for a signal, as a shell has it."""
    return status if status >= 0 else 128 - status
