"""A warm engine: a program that imports vLLM once, and forks a guardian with its server for each request.

`PYTHON engine.py`, with the launcher's socket as its standard input; a line of JSON each. In, first the environment
that the launcher gave it, which a wrapper around the interpreter may have changed; then {"cwd": …} with three
descriptors: the guardian's commands, its reports, its log. Out, first {"ready_s": …} or {"cannot": …}, then
{"guardian": [pid, start_ticks]}.

It has one thread when it forks, imports nothing that touches a device, and ends when the socket's other end is closed.
Its servers do not need it any more: each is watched by its own guardian.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    # Only while ours is imported: a launcher's packages are not the serving interpreter's.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    sys.path.insert(0, str(Path(__file__).parents[3]))

from mixvllm.server import guardian
from mixvllm.server.leftovers import remove_folder
from mixvllm.server.processes import identify
from mixvllm.server.warm import preload, program

if __name__ == "__main__":
    del sys.path[0]

if TYPE_CHECKING:
    from mixvllm.server.task import Task
    from mixvllm.server.warm.preload import Preloaded

_OLDEST_PYTHON = (3, 11)


class LeaderStarts(BaseException):
    """Leaves the guardian's frames in the process that is to be the server, so that it ends as a program does."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


class Control:
    """The launcher's socket.

    Args:
        connection: a stream.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def receive(self) -> tuple[Any, list[int]] | None:
        """Return the next message and its descriptors, or None where the launcher is gone."""
        line, descriptors = b"", []
        while not line.endswith(b"\n"):
            chunk, received, _, _ = socket.recv_fds(self._connection, 1 << 16, 3)
            descriptors += received
            if not chunk:
                return None
            line += chunk
        return json.loads(line), descriptors

    def send(self, **message: Any) -> None:
        """Send a message; a launcher that is gone is noticed by the next `receive`."""
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return

    @contextmanager
    def watched(self, act: Callable[[], None]) -> Iterator[None]:
        """Have `act` called when the other end is closed, while nobody reads here: the kernel sends SIGIO then."""
        signal.signal(signal.SIGIO, lambda _number, _frame: act())
        self._set_signalling(True)
        yield
        self._set_signalling(False)
        signal.signal(signal.SIGIO, signal.SIG_DFL)

    def _set_signalling(self, is_wanted: bool) -> None:
        fcntl.fcntl(self._connection, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(self._connection, fcntl.F_GETFL)
        fcntl.fcntl(self._connection, fcntl.F_SETFL, flags | os.O_ASYNC if is_wanted else flags & ~os.O_ASYNC)

    def close(self) -> None:
        """Close this process's end."""
        self._connection.close()


def main() -> None:
    """Import vLLM and fork until the launcher is gone; a fork that is a server goes on from here as one."""
    _take_libraries()
    control = Control(socket.socket(fileno=os.dup(0)))
    _set_stdin()
    first = control.receive()
    if first is None:
        return
    began = time.monotonic()
    with control.watched(lambda: _give_up(first[0])):
        preloaded = _preload(first[0])
    if isinstance(preloaded, str):
        control.send(cannot=preloaded)
        return
    control.send(ready_s=round(time.monotonic() - began, 2))
    task = _serve(control)
    if task is not None:
        program.run(task, preloaded)


def _take_libraries() -> None:
    """Start anew with the libraries that vLLM wants to be loaded before all others, where they are not."""
    if not preload.is_for_cpus():
        return
    libraries = preload.libraries_for_workers()
    if libraries != os.environ.get("LD_PRELOAD", ""):
        os.environ["LD_PRELOAD"] = libraries
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very program


def _set_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _give_up(given: dict[str, str]) -> None:
    remove_folder(given["TMPDIR"])
    os._exit(1)


def _preload(given: dict[str, str]) -> Preloaded | str:
    """Import all; return what that left behind, or why this process cannot be forked."""
    gc.disable()
    try:
        preload.import_all()
        return _find_obstacle() or preload.note(given)
    except Exception as error:  # noqa: BLE001 - whatever vLLM raises is a reason to start it cold
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    finally:
        remove_folder(given["TMPDIR"])
        gc.collect()
        gc.freeze()  # what no collection looks at stays shared between the forks


def _find_obstacle() -> str | None:
    if sys.version_info < _OLDEST_PYTHON:
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "importing vLLM initialised a GPU"
    _end_thread_pools()
    num_threads = len(list(Path("/proc/self/task").iterdir()))
    return None if num_threads == 1 else f"importing vLLM left {num_threads} threads"


def _end_thread_pools() -> None:
    """Fork once: pools that know of forks, such as OpenBLAS's, end before one, and start again when they are used."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _serve(control: Control) -> Task | None:
    """Fork guardians until the launcher is gone; in a process that is to be a server, return its task."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the guardians
    while (message := control.receive()) is not None:
        request, descriptors = message
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            control.close()
            return _guard(request["cwd"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(guardian=identify(pid) or (pid, 0))
    return None


def _guard(cwd: str, descriptors: Sequence[int]) -> Task:
    """Be a guardian until its work is done; return in its leader alone."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.chdir(cwd)
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
            os.close(descriptor)
        program.show_command([sys.orig_argv[0], str(guardian.__file__)])
        guardian.main(_leave)
    except LeaderStarts as leader:
        return leader.task
    except BaseException:  # noqa: BLE001 - whatever it is, this process is a copy that must end here
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _leave(task: Task) -> None:
    raise LeaderStarts(task)


if __name__ == "__main__":
    main()
