"""Lines that say that something failed: those that repeat a failure of another process, and those that name it."""

from __future__ import annotations

import re

VLLM_WRAPPERS = (
    "Engine core initialization failed",
    "Frontend process failed during engine core initialization",
    "WorkerProc initialization failed",
    "EngineCore failed to start",
    "EngineCore encountered a fatal error",
    "EngineCore encountered an issue",
    "EngineDeadError",
    "WorkerProc failed",
    "WorkerProc hit an exception",
    "Worker failed with error ",
    "AsyncLLM output_handler failed",
    "Executor failed.",
    "Call to ",
)
"""Texts of vLLM's lines that are never the cause: it stands above them, in the lines of another process."""

_WRAPPERS = (*VLLM_WRAPPERS, " validation error for ", " validation errors for ")

_NO_FAILURES = ("KeyboardInterrupt", "CancelledError", "SystemExit", "GeneratorExit", "Exception ignored in")
_EXCEPTION = re.compile(
    r"(?:\[rank\d+\]: ?)?(?:[A-Za-z_]\w*\.)*"
    r"[A-Z]\w*(?:Error|Exception|Failed|Failure|Timeout|Exceeded|Compiler)(?:: |$)"
)
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:: |$)")
_VALIDATION = re.compile(r"\s*Value error, |\s+\S.*\[type=\w+, input_value=")


def is_wrapper(text: str) -> bool:
    """Whether a line only passes on that something failed elsewhere."""
    return any(wrapper in text for wrapper in _WRAPPERS)


def is_error(text: str, *, ends_traceback: bool = False) -> bool:
    """Whether a line, without its prefix, names an error: by its words, or since it stands below a traceback's code."""
    if is_wrapper(text) or any(word in text for word in _NO_FAILURES):
        return False
    return bool(_EXCEPTION.match(text) or _VALIDATION.match(text) or (ends_traceback and _RAISED.match(text)))
