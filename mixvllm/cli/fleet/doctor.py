"""Looks for what runs have left behind, and ends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.fleet.words import say
from mixvllm.cluster.job_folders import left_job_folders, remove_job_folder
from mixvllm.machine import GIB
from mixvllm.machine.gpus import Gpu, get_gpu_info
from mixvllm.runs.journal import ENDED
from mixvllm.runs.records import UNREADABLE
from mixvllm.server.fleet import LOST, RunState, known_processes, look_at_all
from mixvllm.server.orphans import Orphan, end_orphans, find_orphans
from mixvllm.server.processes import ProcessId, describe
from mixvllm.server.remains import remove_temporary_folder, stale_temporary_folders


@dataclass(frozen=True)
class Finding:
    """Something that a run has left.

    Args:
        words: what it is, in one line or some.
        end: ends it, and returns what is left of it in words; nothing where it is gone.
    """

    words: str
    end: Callable[[], str]


def examine(*, end: bool = False) -> int:
    """Print what runs of this user have left on this machine; return 1 where something stays.

    Args:
        end: whether to end and remove it, too.
    """
    states = [state for state in look_at_all() if not state.is_remote]
    gpus = _gpus()
    orphans = find_orphans([state.folder for state in states])
    findings = [
        *orphans_in_words(orphans, gpus),
        *_lost(states, orphans),
        *_folders(states),
        *_job_folders(),
        *_endpoints(states),
    ]
    for state in states:
        if state.state == UNREADABLE:
            say(f"{state.name} is left alone: {state.cause}")
    num_left = sum(treat(finding, end=end) for finding in findings)
    for line in foreign(gpus, states, orphans):
        say(line)
    if not num_left:
        say("nothing of ours is left" + (" any more" if findings else ""))
        return EXIT_OK
    say(f"{num_left} of {len(findings)} still there" if end else "  next: mixvllm doctor --end ends and removes it")
    return EXIT_FAILED


def treat(finding: Finding, *, end: bool) -> bool:
    """Show a finding, end it where that is wanted; return whether it stays."""
    say(finding.words)
    if not end:
        return True
    left = finding.end()
    say(f"  left: {left}" if left else "  ended")
    return bool(left)


def orphans_in_words(orphans: Sequence[Orphan], gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Tell of processes that nobody looks after, with the memory that they hold."""
    for orphan in orphans:
        pids = {process.pid for process in orphan.processes}
        total_gib = sum(map(_memory_gib, pids))
        held = [f"{gib:.1f} GiB of GPU {gpu.id}" for gpu in gpus if (gib := _held_gib(gpu, pids))]
        head = (
            f"orphans of {orphan.run.name}: {len(pids)} alive, {', '.join([f'{total_gib:.1f} GiB of memory', *held])}"
        )
        lines = [f"  {describe([process])}  {_memory_gib(process.pid):.1f} GiB" for process in orphan.processes]
        yield Finding("\n".join([head, *lines]), partial(_end_orphans, orphan))


def _end_orphans(orphan: Orphan) -> str:
    return describe(end_orphans(orphan))


def _lost(states: Sequence[RunState], orphans: Sequence[Orphan]) -> Iterator[Finding]:
    with_orphans = {orphan.run for orphan in orphans}
    for state in states:
        if state.state == LOST and state.folder not in with_orphans:
            words = f"{state.name} is lost: {state.cause}; nothing of it runs, and its record says otherwise"
            yield Finding(words, partial(_end_orphans, Orphan(state.folder, ())))


def _folders(states: Sequence[RunState]) -> Iterator[Finding]:
    for path in stale_temporary_folders(states):
        yield Finding(f"temporary folder {path}: its server is gone", partial(_remove_folder, path))


def _remove_folder(path: Path) -> str:
    return "" if remove_temporary_folder(path) else str(path)


def _job_folders() -> Iterator[Finding]:
    for path in left_job_folders(os.environ):
        yield Finding(f"temporary folder {path}: its job was killed", partial(_remove_job_folder, path))


def _remove_job_folder(path: Path) -> str:
    return "" if remove_job_folder(path) else str(path)


def _endpoints(states: Sequence[RunState]) -> Iterator[Finding]:
    for state in states:
        if state.state in ENDED and state.folder.endpoint.exists():
            yield Finding(
                f"{state.folder.endpoint}: nothing answers there any more", partial(_unlink, state.folder.endpoint)
            )


def _unlink(path: Path) -> str:
    path.unlink(missing_ok=True)
    return ""


def foreign(gpus: Sequence[Gpu], states: Sequence[RunState], orphans: Sequence[Orphan]) -> Iterator[str]:
    """Tell of processes that hold memory of GPUs and are of no run of ours."""
    ours: set[ProcessId] = {process for state in states for process in known_processes(state.folder)}
    pids = {process.pid for process in ours.union(*(orphan.processes for orphan in orphans))}
    for gpu in gpus:
        for process in gpu.processes:
            if process.pid not in pids:
                what = "an engine of vLLM without its server" if process.is_orphan else "not of a run of ours"
                held = f"{process.memory_gib:.1f} GiB of GPU {gpu.id}"
                yield f"process {process.pid} ({process.name}) holds {held}: {what}; it is left alone"


def _gpus() -> Sequence[Gpu]:
    """Return the GPUs where a driver is there that can name processes; without it, asking takes seconds for nothing."""
    has_driver = any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists()
    return get_gpu_info().gpus if has_driver else ()


def _held_gib(gpu: Gpu, pids: set[int]) -> float:
    return sum(process.memory_gib for process in gpu.processes if process.pid in pids)


def _memory_gib(pid: int) -> float:
    try:
        return float(psutil.Process(pid).memory_info().rss) / GIB
    except psutil.Error:
        return 0.0
