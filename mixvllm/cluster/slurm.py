"""Slurm's programs, started so that what they print can be relied on and none keeps us waiting for ever."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from mixvllm.errors import MixvllmError

ANSWER_S = 30.0
"""For one answer: a busy controller takes seconds, and one that is down is given up by Slurm's programs after some."""

_FOREIGN = ("SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SLURM_TIME_FORMAT")  # what users set for their own eyes
_PLAIN = {"LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}  # 0: lists of array elements are never cut
_NO_ANSWER = (
    "unable to contact slurm controller",
    "unable to connect to database",
    "unable to process configuration",
    "could not establish a configuration source",
    "connection refused",
    "connect failure",
    "timed out",
    "zero bytes were transmitted",
    "authentication",
    "munge",
    "backup controller",
)
"""Of what Slurm's programs say when they have spoken to nobody."""


class SlurmUnreachable(MixvllmError):
    """Slurm did not answer, so that nothing is known of any job."""


class SlurmRefused(MixvllmError):
    """Slurm answered that it would not."""


def run_slurm(
    argv: Sequence[str],
    *,
    timeout_s: float = ANSWER_S,
    environment: Mapping[str, str] | None = None,
    with_errors: bool = False,
) -> str:
    """Return what a program of Slurm prints.

    Ctrl-C does not reach it, so that what it was asked for is done or not, and we know which.

    Args:
        argv: program first.
        timeout_s: seconds for the answer.
        environment: None = ours.
        with_errors: whether what it prints to stderr is returned, too.

    Raises:
        SlurmUnreachable: there is no such program here, no answer, or none in time.
        SlurmRefused: the answer is no; the message has Slurm's words.
    """
    given = os.environ if environment is None else environment
    own = {name: value for name, value in given.items() if not name.startswith(_FOREIGN)}
    try:
        done = subprocess.run(
            argv,
            check=False,
            env=own | _PLAIN,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            start_new_session=True,
        )
    except OSError as error:
        where = "is this a login node of the cluster? module load slurm may be missing"
        raise SlurmUnreachable(f"{argv[0]} cannot be run: {error.strerror}\n  next: {where}") from error
    except subprocess.TimeoutExpired as error:
        what = f"{argv[0]} gave no answer in {timeout_s:g} s; nothing is known of the jobs, which go on"
        raise SlurmUnreachable(f"{what}\n  next: scontrol ping, and try again") from error
    if done.returncode != 0:
        raise _refusal(argv[0], done.returncode, (done.stderr or done.stdout).strip())
    return done.stdout + done.stderr if with_errors else done.stdout


def _refusal(program: str, exit_code: int, words: str) -> MixvllmError:
    told = "\n".join(f"    {line}" for line in words.splitlines())
    if exit_code < 0 or any(text in words.lower() for text in _NO_ANSWER):
        why = f"was ended by signal {-exit_code}" if exit_code < 0 else "could not reach Slurm"
        what = f"{program} {why}; nothing is known of the jobs, which go on"
        return SlurmUnreachable(f"{what}\n{told}\n  next: scontrol ping, and try again")
    return SlurmRefused(f"{program} failed, exit code {exit_code}\n{told}")
