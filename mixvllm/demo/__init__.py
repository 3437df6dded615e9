"""The demo model: made on this machine, in seconds, so that a first launch needs no download and no GPU."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from mixvllm.errors import DemoModelFailed
from mixvllm.runtime.wrapper import Wrapped

FOLDER = "demo-model-2k"
"""Its folder in the cache; a model made otherwise gets another name, so that an old copy is not taken for it."""
_TRAIN_SCRIPT = Path(__file__).with_name("train.py")
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_TRAIN_TIMEOUT_S = 900.0  # training takes about 18 s; this is for machines that are busy with something else
_END_TIMEOUT_S = 5.0
_NUM_TAIL_LINES = 12


def is_made(directory: Path) -> bool:
    """Say whether `directory` holds a demo model; it is renamed into place whole, so three names tell."""
    return all((directory / name).is_file() for name in _FILES)


def ensure_demo_model(
    directory: Path,
    python: str,
    say: Callable[[str], None],
    wrap: Callable[[list[str]], Wrapped] = lambda argv: Wrapped(tuple(argv), dict(os.environ)),
) -> None:
    """Make the demo model in `directory`, unless it is there.

    Two launches may do this at once: both succeed, and one copy stays.

    Args:
        directory: where the model is, or will be; its parents are made.
        python: the serving interpreter, which has torch and transformers.
        say: takes one line for the user, and only where there is something to make.
        wrap: returns how a command of `python` is started, where it is in another runtime.

    Raises:
        DemoModelFailed: `python` cannot run, the training failed or took too long; nothing is in `directory`.
    """
    if is_made(directory):
        return
    say(f"Making the demo model in {directory}: once, about 20 s on one CPU core.")
    command = [python, str(_TRAIN_SCRIPT), str(directory)]
    outcome, output = _run(wrap(command))
    if not is_made(directory):
        raise DemoModelFailed(_describe_failure(command, outcome, output))


def _run(command: Wrapped) -> tuple[str, str]:
    """Return how `command` ended, in words, and what it printed; it is over on return, and on an exception."""
    try:
        process = subprocess.Popen(
            command.argv,
            env=command.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        return f"cannot be run ({error.strerror})", ""
    try:
        output, _ = process.communicate(timeout=_TRAIN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"was not done in {_TRAIN_TIMEOUT_S:.0f} s", _end(process)
    except BaseException:
        _end(process)
        raise
    return f"exited with {process.returncode}", output


def _end(process: subprocess.Popen[str]) -> str:
    """Stop `process` and return what it printed: asked first, so that it removes what it wrote, then killed."""
    process.terminate()
    try:
        process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
    return process.communicate()[0]


def _describe_failure(command: list[str], outcome: str, output: str) -> str:
    tail = [f"    {line}" for line in output.rstrip().splitlines()[-_NUM_TAIL_LINES:]]
    return "\n".join(
        [
            f"the demo model was not made: {command[0]} {outcome}",
            *(["  its last lines:", *tail] if tail else []),
            f"  next: {shlex.join(command)} shows all of it; it needs torch, transformers and tokenizers",
        ]
    )
