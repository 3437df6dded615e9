"""The program of a job: does what its array's folder says that its element is to do, and leaves a record of it.

Exit codes: 0: all of it went well. 1: some did not. 128 + n: signal n stopped it.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mixvllm.cluster.alone import run_alone
from mixvllm.cluster.array_folder import ArrayFolder, Element, Terms
from mixvllm.cluster.job import ThisJob, own_surroundings
from mixvllm.cluster.place import slot_for
from mixvllm.cluster.signals import JobSignals
from mixvllm.cluster.slurm import run_slurm
from mixvllm.cluster.stopped_by import stopped_by
from mixvllm.errors import EngineNotFound, MixvllmError, PreflightFailed
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.records import read_json
from mixvllm.runs.registry import host_name
from mixvllm.server.limits import StartLimit
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.sweep.group import GroupRunner, Task
from mixvllm.sweep.meter import Meter
from mixvllm.sweep.point import load_point
from mixvllm.sweep.repeat_record import record_of, write_repeat
from mixvllm.sweep.sweep_folder import SweepFolder

_DISK_S = 90.0  # until a node sees what was written on another one: NFS keeps what it knows for up to a minute
_SLURM_S = 20.0
_SIGNAL_EARLY_S = 70.0  # Slurm sends the signal up to a minute before it should
_SPARE_SHARE = 0.2  # of the time, where that is short


def main(path: str) -> None:
    """Run the element of the array in `path` that this job is, and end with its exit code."""
    job = ThisJob.of(os.environ)
    with JobSignals() as signals, own_surroundings(job, os.environ):
        try:
            code = ElementRunner(ArrayFolder(Path(path)), job, signals).run()
        except MixvllmError as error:
            sys.stderr.write(f"error: {error}\n")
            code = 1
    sys.exit(code)


class ElementRunner:
    """Runs one element.

    Args:
        folder: of the array.
        job: that this process is.
        signals: ask for a stop.
    """

    def __init__(self, folder: ArrayFolder, job: ThisJob, signals: JobSignals) -> None:
        self._folder = folder
        self._job = job
        self._signals = signals
        self._is_failed = False
        self._has_progressed = False
        self._began = time.monotonic()

    def run(self) -> int:
        """Do what is left of it; return the exit code. Where the time is up, the job goes back into the queue."""
        _await_file(self._folder.elements)
        elements, terms = self._folder.read_elements()
        if self._job.restart_count > terms.max_requeues:
            self._record("given_up", f"started {self._job.restart_count} times: hydra.launcher.max_requeues")
            return 1
        self._record("running")
        self._signals.limit_first_start(start_limit(self._began, terms))
        element = elements[self._job.index]
        if not element.server_key:
            self._run_alone()
        elif (left := self._left(element)).repeats:
            self._measure(left)
        return self._end(terms)

    def _run_alone(self) -> None:
        folder = RunFolder(self._folder.work)
        workload = (read_json(folder.point) or {})["config"]["workload"]
        self._is_failed = not run_alone(folder, self._job, self._signals, self._remark)
        was_ready = bool((read_json(folder.status) or {}).get("ready_at"))
        self._has_progressed = workload["kind"] == "serve" and was_ready

    def _left(self, element: Element) -> Element:
        """Return `element` without what an earlier start of this job has finished."""
        sweep = SweepFolder(self._folder.work)
        events, _ = self._folder.read_events(self._job.index)
        ended = [event for event in events if event["event"] == "repeat_ended" and not event.get("is_lost")]
        self._is_failed = any(event["verdict"] != "ok" for event in ended)
        done = {(event["point"], event["repeat"]) for event in ended}
        left = (one for one in element.repeats if one not in done or sweep.read_repeat(*one) is None)
        return Element(element.server_key, tuple(left), element.is_warm)

    def _measure(self, element: Element) -> None:
        sweep = SweepFolder(self._folder.work)
        self._tell({"event": "group_began", "server_key": element.server_key, "host": host_name()})
        try:
            point = load_point(sweep.point(element.repeats[0][0]))
            slot = slot_for(point, self._job, self._remark)
        except (PreflightFailed, EngineNotFound) as error:
            if not self._signals.is_coming():
                self._fail(sweep, element, error)
        else:
            stop = self._signals.is_requested
            with Meter(self._folder.path, stop) as meter, WarmEngines(should_stop=stop) as engines:
                task = Task(element.server_key, element.repeats, slot, element.is_warm)
                GroupRunner(sweep, task, meter, engines, self._signals, self._tell).run()
        self._tell({"event": "group_ended", "server_key": element.server_key})

    def _fail(self, sweep: SweepFolder, element: Element, error: MixvllmError) -> None:
        for content_hash, number in element.repeats:
            self._tell(write_repeat(sweep, element.server_key, content_hash, number, record_of(error)))

    def _remark(self, line: str) -> None:
        self._tell({"event": "remark", "text": line})

    def _tell(self, event: dict[str, Any]) -> None:
        """Note what happens, unless a later start of this job has taken over."""
        if self._is_replaced():
            self._signals.ask_to_stop()
            return
        if event["event"] == "repeat_ended":
            self._is_failed |= event["verdict"] != "ok"
            self._has_progressed = True
        self._folder.tell(self._job.index, event)
        if event["event"] in ("repeat_ended", "remark"):
            sys.stdout.write(f"{event.get('text') or _words(event)}\n")
            sys.stdout.flush()

    def _is_replaced(self) -> bool:
        """Whether a later start of this job runs: this one is on a node that was lost, and lives all the same."""
        current = (read_json(self._folder.job(self._job.index)) or {}).get("nonce")
        return current not in (None, self._job.nonce)

    def _end(self, terms: Terms) -> int:
        if self._is_replaced():
            return 1
        is_full = time.monotonic() - self._began >= terms.full_time_s
        if self._signals.is_time_up and is_full and not self._has_progressed:
            self._record("given_up", "time is up before anything was measured: raise hydra.launcher.timeout_min")
            return 1
        if self._signals.is_time_up:
            return self._requeue(terms, "time is up")
        if self._signals.exit_code is not None:
            stopper = stopped_by(self._job)
            if stopper == "preempted":
                return self._requeue(terms, stopper)
            self._record(stopper, "got a SIGTERM")
            return self._signals.exit_code
        self._record("failed" if self._is_failed else "done")
        return int(self._is_failed)

    def _requeue(self, terms: Terms, cause: str) -> int:
        """Put the job back into the queue; Slurm ends this start of it."""
        if self._job.restart_count >= terms.max_requeues:
            self._record("given_up", f"{cause}, and it was requeued {terms.max_requeues} times before")
            return 1
        self._record("requeued", cause)
        run_slurm(["scontrol", "requeue", self._job.job_id], timeout_s=_SLURM_S)
        return 1

    def _record(self, state: str, cause: str | None = None) -> None:
        if cause is not None:
            sys.stdout.write(f"{state}: {cause}\n")
        record = {
            "schema": SCHEMA_VERSION,
            "state": state,
            "cause": cause,
            "job_id": self._job.job_id,
            "restart_count": self._job.restart_count,
            "nonce": self._job.nonce,
            "host": host_name(),
            "since": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        write_json(self._folder.job(self._job.index), record)


def start_limit(began: float, terms: Terms) -> StartLimit:
    """Return until when the first server of a job can become ready: Slurm asks it to stop soon after that.

    Args:
        began: when the job did, by `time.monotonic`.
        terms: of its array.
    """
    usable_s = 60 * terms.timeout_min - terms.signal_delay_s
    spare_s = min(_SIGNAL_EARLY_S, _SPARE_SHARE * usable_s)
    limits = f"timeout_min={terms.timeout_min}, signal_delay_s={terms.signal_delay_s}"
    return StartLimit(
        until=began + usable_s - spare_s,
        cause=f"the server was not ready before its job had to end ({limits}): raise hydra.launcher.timeout_min",
        fix="raise hydra.launcher.timeout_min",
        override=f"hydra.launcher.timeout_min={2 * terms.timeout_min}",
    )


def _words(event: dict[str, Any]) -> str:
    reason = f": {event['reason']}" if event["reason"] else ""
    return f"point {event['point']} repeat {event['repeat']}: {event['verdict']}{reason}"


def _await_file(path: Path) -> None:
    deadline = time.monotonic() + _DISK_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(1.0)
