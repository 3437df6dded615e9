"""What one fake server shall do: the JSON object in the variable `FAKE_VLLM`."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

LEADER_PHASES = ("imports", "config", "http")
ENGINE_PHASES = ("engine_init", "distributed", "weights", "kv_cache", "warmup")
PHASES = ("imports", "config", *ENGINE_PHASES, "http")
ESCAPES = ("setpgrp", "setsid", "double_fork")

# No exit status of the real server, so that a mistake in a test is not taken for a scripted fault.
BAD_SCRIPT_EXIT_CODE = 64


@dataclass(frozen=True)
class Script:
    """Every key of `FAKE_VLLM`; without a key the server behaves well."""

    # Start-up
    phase_s: float = 0.02  # how long each of PHASES takes
    slow_phases_s: dict[str, float] = field(default_factory=dict)  # phases that take another time
    unknown_flags: list[str] = field(default_factory=list)  # flags that the parser refuses, with exit 2
    log_flood_mb: float = 0  # binary log without a newline, written in the phase config
    hang_in: str | None = None  # this phase never ends

    # Processes
    num_workers: int = 0  # Worker children of EngineCore; 0: the model runs in EngineCore
    escape: str | None = None  # an extra child of EngineCore leaves the group or session, one of ESCAPES
    escape_hides_environ: bool = False  # it also shows no environment in /proc
    stubborn: bool = False  # an extra child of EngineCore ignores TERM, INT and HUP
    pids_file: str | None = None  # every process appends the line "TITLE PID"
    shared_memory: str | None = None  # EngineCore has this segment in /dev/shm; left by SIGKILLs
    lifetime_s: float = 120  # then each process ends itself, so that no test leaves one for ever

    # Death
    die_in: str | None = None  # dies in this phase
    die_at_file: str | None = None  # dies once it serves and this file is there
    exit_code: int = 1  # of the leader's death
    die_by_signal: int | None = None  # death by this signal in place of exit_code; children then survive
    die_process: str = "leader"  # who dies: leader | engine
    die_log: list[str] = field(default_factory=list)  # lines logged before the death, in place of a made-up cause
    die_log_file: str | None = None  # a file logged before the death, such as a recorded log
    die_on_request: int | None = None  # this completion (from 1) answers 500 and the engine is dead
    die_node: int | None = None  # the engine of this node (from 1) dies when it starts
    watchdog_s: float = 0.2  # from the engine's death to the leader's exit 0

    # Shutdown
    init_interrupt_s: float = 0.1  # from SIGINT in engine init to the leader's death by it; 5 s in the real one
    stop_s: float = 0  # from the end of the engine to the leader's exit 0
    hang_on_term: bool = False  # never exits after SIGTERM

    # Answers
    token_delay_s: float = 0  # before each token
    prefill_token_s: float = 0  # the engine computes for this long per token of a prompt, and is deaf meanwhile
    health_without_engine: bool = False  # /health is 200, completions never answer
    completions_status: int = 200  # another status is answered to each completion
    empty_completion: bool = False  # completions have no text and no tokens
    wrong_identity: bool = False  # /v1/models lists a name nobody asked for
    reset_success: bool = True  # what the cache resets of VLLM_SERVER_DEV_MODE=1 answer

    # Restarts: start number k (from 0) merges by_start[min(k, last)] over the rest
    starts_file: str | None = None  # each start appends its pid as a line; needed by by_start
    by_start: list[dict[str, Any]] = field(default_factory=list)

    def get_phase_s(self, phase: str) -> float:
        """Return how long `phase` takes."""
        return self.slow_phases_s.get(phase, self.phase_s)


def read_script(environ: Mapping[str, str]) -> Script:
    """Return the script of this start, or exit with BAD_SCRIPT_EXIT_CODE and all faults in it."""
    try:
        given = json.loads(environ.get("FAKE_VLLM") or "{}")
    except ValueError as error:
        _refuse([f"not JSON: {error}"])
    faults = _find_unknown_keys(given, *given.get("by_start", []))
    if faults:
        _refuse(faults)
    script = Script(**given)
    if script.starts_file is not None:
        script = _overlay_start(script, _count_start(Path(script.starts_file)))
    faults = _find_faults(script)
    if faults:
        _refuse(faults)
    return script


def _find_unknown_keys(*objects: Mapping[str, object]) -> list[str]:
    known = [key.name for key in dataclasses.fields(Script)]
    return [f"unknown key {key}; known: {', '.join(known)}" for keys in objects for key in keys if key not in known]


def _count_start(starts_file: Path) -> int:
    """Return how many starts came before this one."""
    with starts_file.open("a+") as starts:
        starts.seek(0)
        num_before = len(starts.readlines())
        starts.write(f"{os.getpid()}\n")
    return num_before


def _overlay_start(script: Script, start: int) -> Script:
    if not script.by_start:
        return script
    return dataclasses.replace(script, **script.by_start[min(start, len(script.by_start) - 1)])


def _find_faults(script: Script) -> list[str]:
    choices: list[tuple[str, str | None, tuple[str, ...]]] = [
        ("hang_in", script.hang_in, PHASES),
        ("die_in", script.die_in, PHASES),
        ("escape", script.escape, ESCAPES),
        ("die_process", script.die_process, ("leader", "engine")),
        *(("slow_phases_s", phase, PHASES) for phase in script.slow_phases_s),
    ]
    faults = [
        f"{key} = {value}: one of {', '.join(known)}" for key, value, known in choices if value not in (None, *known)
    ]
    if script.by_start and script.starts_file is None:
        faults.append("by_start needs starts_file")
    if script.die_process == "engine" and script.die_in in LEADER_PHASES:
        faults.append(f"die_process engine: there is none in the phase {script.die_in}")
    return faults


def _refuse(faults: list[str]) -> NoReturn:
    print("FAKE_VLLM rejected:", *faults, sep="\n  ", flush=True)
    raise SystemExit(BAD_SCRIPT_EXIT_CODE)
