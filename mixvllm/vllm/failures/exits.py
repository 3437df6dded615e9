"""What the exit status of a server tells, where its log shows nothing."""

from __future__ import annotations

import signal

from mixvllm.vllm.failures.diagnosis import FailureKind

_RESTART = "Start again; where it comes back, the machine's own log (dmesg) tells more."
_SHELL_OFFSET = 128  # a shell adds it to the number of the signal that ended its command

Words = tuple[str, FailureKind, str, str]
"""A failure's id, kind, cause and fix."""

_BY_SIGNAL: dict[int, Words] = {
    signal.SIGKILL: (
        "killed",
        "environment",
        "The server was killed and could say nothing: the host's memory was used up, or somebody did it.",
        "Give the job more host memory where dmesg tells of an oom-kill (Slurm: --mem), or start fewer servers.",
    ),
    signal.SIGSEGV: ("crashed", "transient", "The server crashed in native code (SIGSEGV).", _RESTART),
    signal.SIGABRT: ("aborted", "transient", "The server aborted in native code (SIGABRT).", _RESTART),
    signal.SIGBUS: (
        "shared-memory-full",
        "environment",
        "The server crashed at a memory access (SIGBUS): /dev/shm is too small, or a file was cut while it was read.",
        "Make /dev/shm larger (--shm-size or --ipc=host for a container); check that the disk of the weights is well.",
    ),
    signal.SIGILL: (
        "processor-too-old",
        "environment",
        "The server used an instruction that this processor does not have (SIGILL).",
        "Install a build of vLLM and torch for this processor, or run on a newer one.",
    ),
    signal.SIGTERM: (
        "told-to-stop",
        "environment",
        "Somebody told the server to stop (SIGTERM): a person, a container, the end of a job.",
        "Look for who did; start again.",
    ),
    signal.SIGINT: (
        "told-to-stop",
        "environment",
        "Somebody interrupted the server (SIGINT).",
        "Look for who did; start again.",
    ),
    signal.SIGXCPU: (
        "cpu-time-used-up",
        "environment",
        "The server used up the CPU time that it may have (SIGXCPU).",
        "Raise the limit: ulimit -t unlimited.",
    ),
    signal.SIGXFSZ: (
        "file-too-large",
        "environment",
        "The server wrote a larger file than it may (SIGXFSZ).",
        "Raise the limit: ulimit -f unlimited.",
    ),
}


def words_of_exit(status: int | None) -> Words | None:
    """Return what `status` tells of a failure; None where it tells nothing.

    Args:
        status: as `subprocess` gives it, negative for a signal; None while the server lives.
    """
    if status is None:
        return None
    number = -status if status < 0 else status - _SHELL_OFFSET
    if number in _BY_SIGNAL:
        return _BY_SIGNAL[number]
    if status < 0:
        return "ended-by-signal", "transient", f"The server was ended by {signal_name(number)}.", _RESTART
    return None


def signal_name(number: int) -> str:
    """Return what a signal is called, in whichever way it is known."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
