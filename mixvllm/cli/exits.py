"""How a command ends: its exit code, and errors in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from mixvllm.errors import ConfigError, MixvllmError
from mixvllm.runs.secrets import known_secrets, mask

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_INTERRUPTED = 130


def exit_code_of(command: Callable[[], int]) -> int:
    """Return the exit code of `command`; where it raises an error of ours, say what is wrong and return that one's.

    2: the configuration is wrong, nothing was started. 1: it failed. A fault of mixvllm itself goes through.
    """
    try:
        return command()
    except ConfigError as error:
        for fault in error.faults:
            _say(str(fault))
        return EXIT_CONFIG
    except MixvllmError as error:
        _say(str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:  # before anything was started; a run takes its signals itself
        return EXIT_INTERRUPTED


def _say(message: str) -> None:
    """Print `message`, which may repeat what was typed, or a line of a server's log."""
    sys.stderr.write(f"error: {mask(message, known_secrets(os.environ))}\n")
