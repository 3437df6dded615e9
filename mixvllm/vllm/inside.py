"""Asks the interpreter inside a runtime, by a program that it gets as an argument: nothing has to be mounted for it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.errors import EngineNotFound
from mixvllm.runtime.lacks import find_lacks, identity
from mixvllm.runtime.wrapper import Wrapper
from mixvllm.vllm import describe

_TIMEOUT_S = 600.0  # an image of 10 GB that is unpacked on a node before its first use
_NUM_TAIL_LINES = 5
_KEPT: dict[str, dict[str, Any]] = {}


def describe_inside(runtime: RuntimeConfig) -> dict[str, Any]:
    """Return what `describe` tells of the vLLM inside `runtime`; each image is asked once in a process.

    Raises:
        EngineNotFound: this machine lacks something for the runtime, or it does not answer.
    """
    lacks = find_lacks(runtime, os.environ)
    if lacks:
        raise EngineNotFound("\n".join(f"{lack.finding}\n  next: {lack.mend}" for lack in lacks))
    key = f"{runtime.model_dump_json()}\n{identity(runtime)}"
    if key not in _KEPT:
        _KEPT[key] = _ask(runtime)
    return _KEPT[key]


def _ask(runtime: RuntimeConfig) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(run_inside(runtime, describe.__file__, _TIMEOUT_S))
    except subprocess.CalledProcessError as error:
        raise EngineNotFound(_words(runtime, f"exit code {error.returncode}", error.stderr)) from error
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
        raise EngineNotFound(_words(runtime, str(error), "")) from error
    return found


def run_inside(runtime: RuntimeConfig, program: str, timeout_s: float) -> str:
    """Return what the file `program`, of the standard library and vLLM only, prints inside `runtime`.

    Raises:
        OSError, subprocess.SubprocessError: it could not be run, or failed.
    """
    source = Path(program).read_text(encoding="utf-8")
    wrapped = Wrapper(runtime).program([runtime.interpreter, "-c", source], os.environ)
    done = subprocess.run(
        wrapped.argv,
        env=wrapped.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=True,
    )
    return done.stdout


def _words(runtime: RuntimeConfig, outcome: str, printed: str) -> str:
    what = f"image {runtime.image}" if runtime.is_container else f"modules {', '.join(runtime.modules)}"
    tail = [f"    {line}" for line in printed.strip().splitlines()[-_NUM_TAIL_LINES:]]
    mend = "  next: try it in your shell; runtime.python names its interpreter, where that is not python3"
    return "\n".join([f"runtime.kind={runtime.kind}: {what} cannot be asked for its vLLM: {outcome}", *tail, mend])
