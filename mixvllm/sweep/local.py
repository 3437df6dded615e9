"""Runs a sweep on this machine: groups side by side, each in a worker process, with GPUs or cores of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mixvllm.server.failure import exit_words
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.group import Tell
from mixvllm.sweep.infeasible import Infeasible
from mixvllm.sweep.repeat_record import failed_record, write_repeat
from mixvllm.sweep.slots import Slot, Slots
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.work import Work
from mixvllm.sweep.workers import Worker, Workers, are_gone

_MAX_DEATHS = 2
_FORCED_LIMIT_S = 20.0  # for a worker to kill its server, and to end


@dataclass
class _Running:
    """A group with a slot; without a worker where that was killed, and its server is still being stopped."""

    work: Work
    slot: Slot
    worker: Worker | None
    left: dict[tuple[str, int], None] = field(default_factory=dict)
    num_deaths: int = 0
    cause: str = ""


class LocalLauncher:
    """Gives groups to workers as slots come free, until all are done or a stop is asked for.

    A group whose worker ends is given to another one once; where that ends too, what is left of the group has failed.

    Args:
        folder: of the sweep.
        workers: run the groups; they stay, for those of another launcher.
        slots: of this machine.
        signals: ask for a stop.
        tell: told of all that happens.
        fail_fast: whether the first repeat that fails ends the sweep.
        infeasible: tells of groups that need not be tried; None tries all.
    """

    def __init__(  # noqa: PLR0913 - where, by whom, until when, and two rules
        self,
        folder: SweepFolder,
        workers: Workers,
        slots: Slots,
        signals: StopSignals,
        tell: Tell,
        *,
        fail_fast: bool = False,
        infeasible: Infeasible | None = None,
    ) -> None:
        self._folder = folder
        self._slots = slots
        self._signals = signals
        self._tell = tell
        self._fail_fast = fail_fast
        self._infeasible = infeasible
        self._is_failed = False
        self._workers = workers
        self._running: list[_Running] = []
        self._is_waiting_told = False
        self._stops = _Stops(self._workers, signals)

    def run(self, works: Sequence[Work]) -> None:
        """Run `works` in their order; return when nothing of them runs any more."""
        pending = list(works)
        while pending or self._running:
            pending = [] if self._is_over() else self._hand_out(pending)
            self._stops.pass_on(is_over=self._is_over())
            for worker, message in self._workers.hear():
                self._take(worker, message)
            self._recover()

    def _is_over(self) -> bool:
        return self._signals.is_requested() or (self._fail_fast and self._is_failed)

    def _hand_out(self, pending: Sequence[Work]) -> list[Work]:
        """Start what fits now, in order, and return the rest; a large group does not hold up small ones."""
        left = []
        for work in pending:
            reason = self._infeasible.reason(work) if self._infeasible else None
            if reason is not None:
                self._fail(work, work.repeats, reason)
            elif (slot := self._slots.take(work.num_gpus)) is not None:
                self._tell({"event": "group_began", "server_key": work.server_key, "slot": asdict(slot)})
                self._running.append(self._give(_Running(work, slot, None, dict.fromkeys(work.repeats))))
            else:
                left.append(work)
        if left and not self._running and not self._is_waiting_told:
            self._is_waiting_told = True
            self._tell({"event": "remark", "text": "waiting for GPUs that another sweep of yours has"})
        return left

    def _give(self, running: _Running) -> _Running:
        work, left = running.work, list(running.left)
        running.worker = self._workers.give(work.server_key, left, running.slot, is_warm=work.is_warm)
        return running

    def _take(self, worker: Worker, message: dict[str, Any] | None) -> None:
        running = next((one for one in self._running if one.worker is worker), None)
        if message is None:
            if running is not None:
                self._lose(running, f"its worker ended ({exit_words(worker.process.returncode)})")
        elif running is not None and message["event"] == "task_ended":
            if running.left and not self._is_over():  # somebody else has asked it to stop, and it does
                self._lose(running, "its worker was asked to stop, by none of ours")
                return
            worker.is_free = True
            self._end(running)
        else:
            self._note(running, message)
            self._tell(message)

    def _note(self, running: _Running | None, message: dict[str, Any]) -> None:
        if running is None or message["event"] != "repeat_ended":
            return
        running.left.pop((message["point"], message["repeat"]), None)
        self._is_failed |= message["verdict"] == "failed"
        if self._infeasible and message.get("at_start"):
            self._infeasible.note(running.work, message["at_start"])

    def _lose(self, running: _Running, what: str) -> None:
        """Take note that a worker has ended by itself, or is about to."""
        running.worker = None
        running.num_deaths += 1
        running.cause = f"{what}; see {self._folder.workers_log}"
        if not self._is_over():
            left = {"num_left": len(running.left), "cause": running.cause}
            self._tell({"event": "worker_died", "server_key": running.work.server_key, **left})

    def _recover(self) -> None:
        """Go on with groups that have lost their workers, as soon as their servers are gone."""
        for running in [one for one in self._running if one.worker is None]:
            if not are_gone(self._folder, running.work.server_key):
                continue
            if self._is_over() or not running.left:
                self._end(running)
            elif running.num_deaths < _MAX_DEATHS:
                self._give(running)
            else:
                self._fail(running.work, tuple(running.left), f"{running.cause}, for the second time")
                self._end(running)

    def _end(self, running: _Running) -> None:
        self._running.remove(running)
        self._slots.give_back(running.slot)
        self._tell({"event": "group_ended", "server_key": running.work.server_key})

    def _fail(self, work: Work, repeats: Sequence[tuple[str, int]], reason: str) -> None:
        self._is_failed = True
        for content_hash, number in repeats:
            self._tell(write_repeat(self._folder, work.server_key, content_hash, number, failed_record(reason)))


class _Stops:
    """Passes stops on to workers: once to stop, once more to stop at once, and kills them where that does not help."""

    def __init__(self, workers: Workers, signals: StopSignals, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers = workers
        self._signals = signals
        self._clock = clock
        self._num_asked = 0
        self._forced_at = 0.0

    def pass_on(self, *, is_over: bool) -> None:
        """Ask the workers for what is asked for now."""
        if is_over and self._num_asked == 0:
            self._num_asked = 1
            self._workers.ask_to_stop()
        if self._signals.is_forced() and self._num_asked == 1:
            self._num_asked, self._forced_at = 2, self._clock()
            self._workers.ask_to_stop()
        if self._num_asked == 2 and self._clock() - self._forced_at > _FORCED_LIMIT_S:
            self._workers.kill()
