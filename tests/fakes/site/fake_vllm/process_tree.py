"""Processes as vLLM makes them: retitled children, a resource tracker, and children that escape."""

import contextlib
import mmap
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fake_vllm.phases import hang
from fake_vllm.script import Script

_RESET_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SHM = Path("/dev/shm")
# Of /proc/PID/stat after the name: arg_start, arg_end, env_start, env_end (proc(5) fields 48 to 51).
_ADDRESS_FIELDS = slice(45, 49)


def fork_child(run: Callable[[], int], script: Script, keep_fds: Iterable[int] = ()) -> int:
    """Return the pid of a child that ends with the status `run` returns.

    As after vLLM's spawn, the child holds no file of its parent but 0 to 2 and `keep_fds`, and the default signal
    handlers.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _close_all_but(keep_fds)
        for signal_number in _RESET_SIGNALS:
            signal.signal(signal_number, signal.SIG_DFL)
        limit_lifetime(script)
        status = run()
    except BaseException:  # noqa: BLE001  a child must not unwind into the frames of its parent
        traceback.print_exc()
    finally:
        os._exit(status)


def limit_lifetime(script: Script) -> None:
    """End this process by SIGALRM when the script's lifetime is over, whatever it waits for."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, script.lifetime_s)


def set_title(title: str, script: Script, *, hides_environ: bool = False) -> None:
    """Show `title` in `ps`, and no environment in /proc where asked, as setproctitle does with vLLM's children."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    arg_start, arg_end, env_start, env_end = map(int, stat[_ADDRESS_FIELDS])
    num_bytes = arg_end - arg_start
    with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
        memory.seek(arg_start)
        memory.write(title.encode()[: num_bytes - 1].ljust(num_bytes, b"\0"))
        if hides_environ:
            memory.seek(env_start)
            memory.write(bytes(env_end - env_start))
    Path("/proc/self/comm").write_text(title[:15])
    record_pid(title, script)


def record_pid(title: str, script: Script) -> None:
    """Append this process to the script's pids_file."""
    if script.pids_file is not None:
        with Path(script.pids_file).open("a") as pids:
            pids.write(f"{title} {os.getpid()}\n")


def start_resource_tracker(script: Script) -> int:
    """Start Python's resource tracker; return the pipe end whose last holder's end ends it too."""
    read_fd, write_fd = os.pipe()
    started_fd, up_fd = os.pipe()

    def track() -> int:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        set_title(f"python -c from multiprocessing.resource_tracker import main;main({read_fd})", script)
        os.close(up_fd)
        while os.read(read_fd, 1):
            pass
        if script.shared_memory is not None:
            _SHM.joinpath(script.shared_memory).unlink(missing_ok=True)
        return 0

    fork_child(track, script, keep_fds=[read_fd, up_fd])
    os.close(up_fd)
    os.read(started_fd, 1)  # until it has its title, so that whoever sees the server ready sees that too
    os.close(started_fd)
    os.close(read_fd)
    return write_fd


@contextlib.contextmanager
def hold_shared_memory(script: Script) -> Iterator[None]:
    """Hold the script's segment; where this process is killed meanwhile, the resource tracker removes it."""
    if script.shared_memory is None:
        yield
        return
    path = _SHM / script.shared_memory
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), mmap.PAGESIZE):
        yield
    path.unlink(missing_ok=True)


def start_strays(script: Script) -> None:
    """Start the extra children of the script: what a compile pool or a plugin may leave behind."""
    if script.stubborn:
        fork_child(lambda: _be_stubborn(script), script)
    if script.escape is not None:
        child = fork_child(lambda: _escape(script), script)
        if script.escape == "double_fork":
            os.waitpid(child, 0)


def _be_stubborn(script: Script) -> int:
    for signal_number in _RESET_SIGNALS:
        signal.signal(signal_number, signal.SIG_IGN)
    set_title("VLLM::Stubborn", script)
    hang()


def _escape(script: Script) -> int:
    if script.escape == "setpgrp":
        os.setpgrp()
    else:
        os.setsid()
    if script.escape == "double_fork":
        fork_child(lambda: _hide(script), script)
        return 0
    return _hide(script)


def _hide(script: Script) -> int:
    set_title("VLLM::Escaped", script, hides_environ=script.escape_hides_environ)
    hang()


def _close_all_but(keep_fds: Iterable[int]) -> None:
    first = 3
    for fd in sorted(keep_fds):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
