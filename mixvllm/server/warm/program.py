"""How a fork of a warm engine becomes the server: all that an exec of the interpreter would have done."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.process
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixvllm.server.warm.preload import Preloaded, moved, open_files

if TYPE_CHECKING:
    from mixvllm.server.task import Task

_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


def run(task: Task, preloaded: Preloaded) -> None:
    """Run the module that `task` names as `python -m` does, in this process; call it at the bottom of the stack."""
    argv = task["argv"]
    _take_signals()
    _close_files(preloaded)
    _take_environment(task, preloaded)
    _take_identity()
    show_command([sys.orig_argv[0], *argv[1:]])
    _fork_engines()
    _take_argv(argv)
    gc.enable()
    runpy.run_module(argv[2], run_name="__main__", alter_sys=True)


def show_command(argv: Sequence[str]) -> None:
    """Have `ps` show `argv` as the command line of this process, where the interpreter can; the name stays."""
    with suppress(ImportError):
        import setproctitle  # noqa: PLC0415 - the serving interpreter has it with vLLM, not the launcher's

        name = Path("/proc/self/comm").read_text(encoding="utf-8")
        setproctitle.setproctitle(" ".join(argv))
        Path("/proc/self/comm").write_text(name.strip(), encoding="utf-8")


def _take_signals() -> None:
    """React to signals as an interpreter does that has just started; the rest is at its default already."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _close_files(preloaded: Preloaded) -> None:
    """Close what is open since the import: the guardian's own."""
    for number, file in open_files().items():
        if number > 2 and preloaded.files.get(number) != file:
            with suppress(OSError):
                os.close(number)


def _take_environment(task: Task, preloaded: Preloaded) -> None:
    """Take the server's environment and its folder for temporary files, also where importing wrote them down."""
    before, after = preloaded.tmp_dir, task["environment"]["TMPDIR"]
    changed = {name: moved(value, before, after) for name, value in preloaded.changed.items()}
    os.environ.clear()
    os.environ.update({**task["environment"], **changed})
    for name in preloaded.removed:
        os.environ.pop(name, None)
    for module, name in preloaded.tmp_names:
        names = vars(sys.modules[module])
        names[name] = moved(names[name], before, after)


def _take_identity() -> None:
    """Have nothing random in common with the other forks; Python sees to `random`, vLLM to torch and its own."""
    multiprocessing.current_process().authkey = os.urandom(32)
    vars(multiprocessing.process)["ORIGINAL_DIR"] = str(Path.cwd())  # where spawned children start
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _take_argv(argv: Sequence[str]) -> None:
    sys.orig_argv = [sys.orig_argv[0], *argv[1:]]
    sys.argv = ["", *argv[3:]]  # the first is set where the module is found
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, str(Path.cwd()))


def _fork_engines() -> None:
    """Have vLLM on CPUs fork its engine and workers, which it spawns otherwise: each one imports anew.

    Elsewhere it is left to vLLM. Forking is what vLLM does by itself where no device forbids it; for CPUs it insists
    on spawning, since environment variables set the threads of a worker's OpenMP, which reads them when it is loaded.
    So they are forked only where nothing new would be read.
    """
    platforms = sys.modules.get("vllm.platforms")
    if platforms is None or not platforms.current_platform.is_cpu():
        return
    platform = type(platforms.current_platform)
    check: Any = platform.check_and_update_config.__func__
    loaded = os.environ.get("LD_PRELOAD")

    def check_and_fork(cls: type, config: Any, *args: Any, **options: Any) -> None:
        check(cls, config, *args, **options)
        if os.environ.get("LD_PRELOAD") == loaded and _can_fork(config.parallel_config):
            os.environ[_METHOD] = "fork"

    platform.check_and_update_config = classmethod(check_and_fork)


def _can_fork(parallel: Any) -> bool:
    """Whether a fork has the settings of a spawned process.

    Several front ends have not: `prometheus_client` reads when it is imported where they collect their numbers.
    """
    is_unbound = os.environ.get("VLLM_CPU_OMP_THREADS_BIND") == "nobind"
    has_no_worker = parallel.distributed_executor_backend == "uni"
    return bool((is_unbound or has_no_worker) and parallel._api_process_count <= 1)
