"""The steps of start-up, and the ways in which one of them goes wrong."""

import os
import resource
import signal
import time
from pathlib import Path
from typing import NoReturn

from fake_vllm.log_lines import write_log
from fake_vllm.script import Script


class ScriptedFaultError(Exception):
    """The script says to die in this phase."""

    def __init__(self, phase: str) -> None:
        super().__init__(phase)
        self.phase = phase


def pass_phase(phase: str, script: Script) -> None:
    """Take the time of `phase`; hang in it or raise `ScriptedFaultError` where the script says so."""
    if script.hang_in == phase:
        hang()
    time.sleep(script.get_phase_s(phase))
    if script.die_in == phase:
        raise ScriptedFaultError(phase)


def hang() -> NoReturn:
    """Never return; signals are still handled."""
    while True:
        # Not pause(): a signal that comes just before it would wait for the next one.
        time.sleep(0.05)


def write_scripted_cause(script: Script) -> bool:
    """Log what the script wants to be read before a death; return whether it wants something."""
    if script.die_log_file is not None:
        write_log(Path(script.die_log_file).read_bytes())
    if script.die_log:
        write_log("".join(f"{line}\n" for line in script.die_log))
    return script.die_log_file is not None or bool(script.die_log)


def die_by(signal_number: int) -> NoReturn:
    """End this process by a signal, without a core file and without a word to anyone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if signal_number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(signal_number, signal.SIG_DFL)
    os.kill(os.getpid(), signal_number)
    hang()
