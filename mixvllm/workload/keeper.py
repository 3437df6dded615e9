"""The keeper: a small process that runs one program after the other, and leaves nothing of any, whoever is killed.

It ends a program with everything it started when it is told to and when its launcher is gone: its pipe tells. Told to
be warm, it first imports `vllm bench serve`, which takes 10 to 40 s, and then forks each run from what it has imported.

A program of its own for the serving interpreter, which may not have mixvllm: `python keeper.py [warm]`; standard
library only, one thread. In, a line of JSON each: a `Job`, or {"do": "end"}. Out, a line of JSON each:
{"ready": true, "fault": …}, {"started": [pid, start_ticks]}, {"ended": status, "cpu_s": …}.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypedDict

    class Job(TypedDict):
        """One program to run.

        Args:
            argv: program first; of a warm run the options of `vllm bench serve`.
            environment: whole.
            log: file that it prints to.
            is_warm: whether it is forked from what was imported.
        """

        argv: list[str]
        environment: dict[str, str]
        log: str
        is_warm: bool


GRACE_S = 2.0
"""Seconds that a program gets to end by itself after SIGTERM."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICK_S = 0.02
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_NEEDED = ("vllm.benchmarks.serve", "vllm.utils.argparse_utils", "vllm.platforms")
_USED_LATER = ("vllm.tokenizers.hf", "transformers.models.auto.tokenization_auto")  # by `vllm bench serve`, in 0.32
_LIBC = ctypes.CDLL(None, use_errno=True)


class Keeper:
    """Runs the jobs that come by `commands`, one at a time, and reports of them.

    Args:
        commands: descriptor that jobs come from.
        reports: descriptor that reports go to.
    """

    def __init__(self, commands: int, reports: int) -> None:
        self._commands = commands
        self._reports = reports
        self._partial = b""
        self._wakeup = _wake_on_child()
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what a program leaves becomes a child of ours

    def run(self) -> None:
        """Do jobs until the launcher is gone."""
        while (messages := self._read()) is not None:
            for message in messages:
                if "argv" in message and not self._do(message):
                    return

    def _do(self, job: Job) -> bool:
        """Run `job` to its end; return whether the launcher is still there."""
        keeper, (begun, begins) = os.getpid(), os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _become(job, keeper, (self._commands, self._reports, self._wakeup, begun, begins))
        os.close(begins)
        os.read(begun, 1)  # until it leads a session of its own; a SIGTERM that comes before is lost
        os.close(begun)
        self.tell(started=[pid, _start_ticks(pid)])
        is_launcher_there, status, cpu_s = self._wait(pid)
        _clear()
        self.tell(ended=status, cpu_s=cpu_s)
        return is_launcher_there

    def _wait(self, pid: int) -> tuple[bool, int, float]:
        deadline: float | None = None
        is_launcher_there = True
        while (ended := _reap(pid)) is None:
            if deadline is not None and time.monotonic() > deadline:
                _signal_group(pid, signal.SIGKILL)
            sources = [self._wakeup, self._commands] if is_launcher_there else [self._wakeup]
            readable, _, _ = select.select(sources, [], [], None if deadline is None else _TICK_S)
            if self._wakeup in readable:
                os.read(self._wakeup, 4096)
            if self._commands in readable:
                messages = self._read()
                is_launcher_there = messages is not None
                if deadline is None and (messages is None or {"do": "end"} in messages):
                    deadline = time.monotonic() + GRACE_S
                    _signal_group(pid, signal.SIGTERM)
        return is_launcher_there, *ended

    def _read(self) -> list[Any] | None:
        """Return what has come, waiting for something; None where the launcher is gone."""
        chunk = os.read(self._commands, 1 << 20)
        if not chunk:
            return None
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def tell(self, **report: Any) -> None:
        """Write `report`; a launcher that is gone is noticed by its pipe."""
        try:
            os.write(self._reports, json.dumps(report).encode() + b"\n")
        except OSError:
            return


def preload() -> str | None:
    """Import `vllm bench serve`; return why it cannot be forked from, or None."""
    gc.disable()
    try:
        for name in _NEEDED:
            importlib.import_module(name)
        for name in _USED_LATER:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        _settle_platform()
    except Exception:  # noqa: BLE001 - whatever it is, the launcher goes on without a warm process
        traceback.print_exc()
        return traceback.format_exc(limit=0).strip()
    gc.collect()
    gc.freeze()
    num_threads = len(list(Path("/proc/self/task").iterdir()))
    return None if num_threads == 1 else f"importing vLLM started {num_threads - 1} threads, which a fork does not take"


def _settle_platform() -> None:
    """Do what vLLM's own command line does before a benchmark on a machine without an accelerator."""
    platforms: Any = importlib.import_module("vllm.platforms")
    if platforms.current_platform.is_unspecified():
        platforms.current_platform = importlib.import_module("vllm.platforms.cpu").CpuPlatform()


def bench(options: list[str]) -> None:
    """Do what `vllm bench serve` does."""
    gc.enable()
    serve = importlib.import_module("vllm.benchmarks.serve")
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser(prog="vllm bench serve")
    serve.add_cli_args(parser)
    sys.argv = ["vllm", "bench", "serve", *options]
    serve.main(parser.parse_args(options))


def _become(job: Job, keeper: int, descriptors: tuple[int, ...]) -> None:
    """Turn this fork into the program of `job`; never returns."""
    status = 127
    try:
        _leave_keeper(job, keeper, descriptors)
        if not job["is_warm"]:
            os.execvpe(job["argv"][0], job["argv"], job["environment"])  # noqa: S606 - a list, never a shell
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.stdout = open(1, "w", buffering=1, closefd=False, encoding="utf-8")  # noqa: SIM115
        bench(job["argv"])
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except OSError as error:
        status = 1 if job["is_warm"] else 127
        print(f"cannot run {job['argv'][0]}: {error}", file=sys.stderr)  # noqa: T201 - this is its log
    except BaseException:  # noqa: BLE001 - this process is a copy that must end here
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _leave_keeper(job: Job, keeper: int, descriptors: tuple[int, ...]) -> None:
    os.setsid()
    os.umask(0o077)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for target, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, target)
    for descriptor in descriptors:
        if descriptor > 2:
            os.close(descriptor)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != keeper:
        os._exit(127)


def _reap(leader: int) -> tuple[int, float] | None:
    """Wait for every child that has ended; return exit status and CPU seconds of `leader` once it is among them."""
    found = None
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == leader:
            found = os.waitstatus_to_exitcode(status), _cpu_s(usage)


def _cpu_s(usage: resource.struct_rusage) -> float:
    return float(usage.ru_utime + usage.ru_stime)


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return


def _clear() -> None:
    """Kill what a program has left, until there is none."""
    while left := list(_descendants(os.getpid())):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_TICK_S)
        _reap(-1)


def _descendants(ancestor: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            children.setdefault(_field(int(folder.name), 1), []).append(int(folder.name))
    ours = children.get(ancestor, [])
    while ours:
        pid = ours.pop()
        yield pid
        ours += children.get(pid, [])


def _start_ticks(pid: int) -> int:
    return _field(pid, 19)


def _field(pid: int, number: int) -> int:
    """Return a field after the name in `/proc/PID/stat`; 0 where it is gone. Source: proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[number])
    except OSError:
        return 0


def _wake_on_child() -> int:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the launcher decides; it closes its pipe
    return reader


def main() -> None:
    """Get ready, then do what the launcher says."""
    if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        sys.path.pop(0)  # its modules have the names of programs
    launcher = int(sys.argv[1])
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # an import does not look at the pipe
    if os.getppid() != launcher:
        return
    reports = os.dup(1)
    os.dup2(2, 1)  # what an import prints must not mix with the reports
    fault = None
    if "warm" in sys.argv[2:]:
        os.environ.update(_NO_THREADS)
        fault = preload()
    _LIBC.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
    keeper = Keeper(0, reports)
    keeper.tell(ready=True, fault=fault)
    keeper.run()


if __name__ == "__main__":
    main()
