"""Logs of servers that fail, built around the lines that show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CASES_FILE = Path(__file__).with_name("cases.yaml")

_PROCESSES = {"A": "APIServer pid=100", "E": "EngineCore pid=200", "W": "Worker_TP{} pid=30{}"}
_LEVELS = {"": "ERROR", "i": "INFO", "w": "WARNING"}
_STAGES = ("start", "loading", "profiling", "capturing", "captured", "serving")

_BEGINNING = {
    "start": [
        "Ai non-default args: {'model': 'org/model', 'port': 8000}",
        "Aw Found ulimit of 20000 and failed to automatically increase with error current limit exceeds maximum limit. "
        "This can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider increasing it",
        "Ai Resolved architecture: LlamaForCausalLM",
        "Ei Initializing a V1 LLM engine (v0.32.0) with config: model='org/model'",
        "W0i vLLM is using nccl==2.27.5",
        "Ei No available shared memory broadcast block found in 60 seconds. This typically happens when some processes "
        "are hanging or doing some time-consuming work (e.g. compilation, weight/kv cache quantization).",
    ],
    "loading": ["W0i Starting to load model org/model...", "W1i Starting to load model org/model..."],
    "profiling": [
        "- Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:09<00:00,  2.25s/it]",
        "W0i Loading weights took 9.01 seconds",
        "W1i Loading weights took 9.02 seconds",
    ],
    "capturing": ["- Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):   0%|          | 0/51 [00:00<?, ?it/s]"],
    "captured": ["W0i Graph capturing finished in 9 secs, took 0.61 GiB", "W1i Graph capturing finished in 9 secs"],
    "serving": [
        "Ei init engine (profile, create kv cache, warmup model) took 31.05 s",
        "- INFO:     Started server process [100]",
        "- INFO:     Application startup complete.",
        '- INFO:     127.0.0.1:45508 - "POST /v1/completions HTTP/1.1" 200 OK',
    ],
}
_TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/venv/lib/python3.11/site-packages/vllm/v1/engine/core.py", line 1501, in run_engine_core',
    "    engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)",
    "                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
]
_WRAPPERS = {
    False: [
        "E EngineCore failed to start.",
        "E Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace "
        "for root cause.",
        "- Process EngineCore:",
        *(f"- {line}" for line in _TRACEBACK),
        "- RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ],
    True: [
        "E EngineCore encountered a fatal error.",
        "E RuntimeError: Worker failed with error 'it', please check the stack trace above for the root cause",
        "E RuntimeError: Executor failed.",
        "A AsyncLLM output_handler failed.",
        *(f"A {line}" for line in _TRACEBACK),
        "A vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the "
        "root cause.",
        '- INFO:     127.0.0.1:45086 - "GET /health HTTP/1.1" 503 Service Unavailable',
        "- INFO:     Shutting down",
    ],
}


@dataclass(frozen=True)
class Case:
    """A failure, and what is expected to be said of it.

    Args:
        id, kind, override: of the diagnosis.
        lines: that show it, in the form of `cases.yaml`.
        shown: index of the line that tells.
        exit_status: of the server.
        config: overrides of what it was to run.
        during: how far it had come.
        is_bare: no other process says anything of it.
    """

    id: str
    kind: str
    override: str | None
    lines: tuple[str, ...]
    shown: int
    exit_status: int | None
    config: tuple[str, ...]
    during: str
    is_bare: bool

    @property
    def beginning(self) -> list[str]:
        """What a healthy server prints until then."""
        stages = _STAGES[: _STAGES.index(self.during) + 1]
        return [line for stage in stages for line in _BEGINNING[stage]]

    @property
    def wrappers(self) -> list[str]:
        """What the other processes print of the failure."""
        return [] if self.is_bare else _WRAPPERS[self.during == "serving"]


def read_cases() -> list[Case]:
    """Return the cases of `cases.yaml`."""
    entries: list[dict[str, Any]] = yaml.safe_load(CASES_FILE.read_text())
    return [
        Case(
            id=entry["id"],
            kind=entry["kind"],
            override=entry.get("override"),
            lines=tuple(entry["lines"]),
            shown=entry.get("shown", 0),
            exit_status=entry.get("exit", 1),
            config=("model=default", "model.name=org/model", *entry.get("config", ())),
            during=entry.get("during", "start"),
            is_bare=entry.get("bare", False),
        )
        for entry in entries
    ]


def written(line: str) -> str:
    """Return a line of `cases.yaml` as it stands in a log."""
    who, _, text = line.partition(" ")
    if who == "-":
        return text
    level = _LEVELS[who[-1]] if who[-1] in "iw" else "ERROR"
    process = _PROCESSES[who[0]].format(who[1:2], who[1:2])
    return f"({process}) {level} 11-22 14:37:07 [core.py:1510] {text}"


def plain(case: Case) -> str:
    """Return the lines of a case alone."""
    return _joined(case.lines)


def among_wrappers(case: Case) -> str:
    """Return a whole log: a healthy beginning, a traceback with the lines of the case, and what others print of it."""
    who = case.lines[0].partition(" ")[0]
    frames = [] if case.is_bare else [f"{who} {line}" for line in _TRACEBACK]
    return _joined([*case.beginning, *frames, *case.lines, *case.wrappers])


def coloured(case: Case) -> str:
    """Return a whole log as a terminal gets it."""
    lines = among_wrappers(case).splitlines()
    return "".join(f"\x1b[0;36m{head}\x1b[0;0m{rest}\n" for line in lines for head, rest in [_prefix(line)])


def interleaved(case: Case) -> str:
    """Return a whole log with the lines of another worker, which goes on loading, between those of the case."""
    other = "W9i Loading weights of layer {}, which takes a while"
    lines = [*case.beginning, *(part for line in case.lines for part in (line, other))]
    if case.is_bare:
        lines = [*case.beginning, *case.lines]
    return _joined([*lines, *case.wrappers])


def cut_short(case: Case) -> str:
    """Return a whole log whose last line was never ended, as when the disk is full or the writer was killed."""
    whole = among_wrappers(case)
    return whole.rstrip("\n") if case.is_bare else f"{whole}(APIServer pid=100) ERROR 11-22 14:37:09 [asy"


def with_garbage(case: Case) -> str:
    """Return a whole log with bytes that are no text, and a line without end, before the lines of the case."""
    lines = "".join(f"{written(line)}\n" for line in case.lines)
    return (
        _joined(case.beginning) + "\x00\x07 \x1b]0;title\x07 " + "x" * 100_000 + "\n" + lines + _joined(case.wrappers)
    )


DRESSINGS: tuple[Callable[[Case], str], ...] = (among_wrappers, coloured, interleaved, cut_short, with_garbage)


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{written(line)}\n" for line in lines)


def _prefix(line: str) -> tuple[str, str]:
    head, end, rest = line.partition(")")
    return (head + end, rest) if line.startswith("(") else ("", line)
