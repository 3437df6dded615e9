"""A server's first process: forked from its guardian, in a session of its own that it leads.

The guardian uses this module, so that it imports little.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from mixvllm.server.processes import ProcessId, identify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from mixvllm.server.task import Task

LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def start_leader(task: Task, run: Callable[[Task], None]) -> ProcessId:
    """Start the server's first process in a session of its own, its output in a file.

    A file, since a pipe that nobody reads would block vLLM, and would break when its reader dies.
    """
    guardian = os.getpid()
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    # A signal to the leader that comes before its exec would meet the guardian's handler, and be lost.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    pid = os.fork()
    if pid == 0:
        try:
            _become_leader(guardian, null, log, mask)
        except BaseException as error:  # noqa: BLE001 - whatever it is, this process is a copy that must end here
            _give_up(task, error)
        run(task)
        os._exit(127)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(log)
    os.close(null)
    return identify(pid) or ProcessId(pid, 0)


def _become_leader(guardian: int, null: int, log: int, mask: set[int]) -> None:
    os.setsid()
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    # By SIGUSR2 Slurm announces the end of a job; vLLM would die of it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core holds the keys
    # SIGINT ends vLLM with its engine in every state; SIGKILL would leave the engine.
    LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if os.getppid() != guardian:
        os._exit(127)


def execute(task: Task) -> None:
    """Become the server: a program with its whole environment."""
    try:
        os.execvpe(task["argv"][0], task["argv"], task["environment"])
    except BaseException as error:  # noqa: BLE001 - as above
        _give_up(task, error)


def _give_up(task: Task, error: BaseException) -> None:
    os.write(2, f"cannot start {task['argv'][0]}: {error}\n".encode())
    os._exit(127)
