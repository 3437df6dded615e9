"""Groups side by side: each server has its own slot, and nothing that ends by force loses a group."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mixvllm.runs.folder import RunFolder
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.infeasible import Infeasible
from mixvllm.sweep.local import LocalLauncher
from mixvllm.sweep.plan_record import write_plan
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.slots import Slots
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.work import Work
from mixvllm.sweep.workers import Worker, Workers
from tests.faults.nothing_left import Witness, left_at_last
from tests.sweep.sweeps import SECOND, command, fake_overrides, hang, kill_when_alive
from tests.written_runs import wait_for

pytestmark = pytest.mark.usefixtures("own_tmp")

Message = dict[str, Any]


class Local:
    """A launcher in this process, with workers of its own."""

    def __init__(self, folder: Path, *overrides: str, **script: object) -> None:
        self.pids_file = folder / "pids"
        shared = fake_overrides(folder, {"pids_file": str(self.pids_file), **script})
        with Draft() as draft:
            self.plan = make_plan([*shared, command(), f"output_dir={folder}", *overrides], draft=draft)
            self.plan.check()
            self.folder = SweepFolder.create(folder, "mine")
            with self.folder.locked():
                write_plan(self.plan, draft, self.folder, [])
        self.told: list[Message] = []

    def run(
        self, slots: Slots, at: Callable[[Message], None] = lambda _message: None, num_gpus: int = 1, **options: Any
    ) -> None:
        """Run all of it; `at` is called with all that is told."""

        def hear(message: Message) -> None:
            self.told.append(message)
            at(message)

        with StopSignals() as signals, Workers(self.folder) as workers:
            LocalLauncher(self.folder, workers, slots, signals, hear, **options).run(self._works(num_gpus))

    def _works(self, num_gpus: int) -> list[Work]:
        return [
            Work(
                group.server_key,
                num_gpus,
                tuple((point.content_hash, k + 1) for point in group.points for k in range(point.num_repeats)),
                group.points[0].index,
            )
            for group in self.plan.groups
        ]

    def records(self) -> list[Message]:
        """Return the records, by point and repeat."""
        hashes = [point.content_hash for point in self.plan.points]
        return [record for content_hash in hashes for record in self.folder.read_repeats(content_hash)]

    def verdicts(self) -> list[str]:
        return [record["verdict"] for record in self.records()]

    def statuses(self) -> list[Message]:
        """Return status.json of each server that was started."""
        return [json.loads(path.read_text()) for path in self.folder.servers.glob("*/*/*/status.json")]

    def left(self) -> list[str]:
        """Return in words what is left."""
        runs = [RunFolder(path) for path in self.folder.servers.glob("*/*/*")]
        return left_at_last(lambda: [line for run in runs for line in Witness(run, self.pids_file).left()])


RunLocal = Callable[..., Local]


@pytest.fixture
def plan_local(tmp_path: Path) -> RunLocal:
    """Return a function that plans a sweep: overrides, and keys of the fake's script."""
    return lambda *overrides, **script: Local(tmp_path, *overrides, **script)


def worker_of(local: Local, server_key: str) -> int:
    """Return the number of the worker that watches the living server of a key."""
    files = local.folder.server_folder(server_key).glob("*/*/status.json")
    living = [status for file in files if (status := json.loads(file.read_text()))["state"] == "ready"]
    return int(living[-1]["supervisor"]["pid"])


@pytest.mark.parametrize(
    ("number", "cause"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGTERM, "asked to stop, by none of ours")]
)
def test_a_killed_worker_loses_nothing_another_one_does_the_rest(
    plan_local: RunLocal, tmp_path: Path, number: signal.Signals, cause: str
) -> None:
    hanging = command(hang(tmp_path, condition=SECOND))
    local = plan_local("inference.max_num_seqs=8,16", "workload.repeats=3", hanging)
    killed: list[int] = []

    def kill_once(message: Message) -> None:
        if message["event"] == "repeat_began" and message["repeat"] == 2 and not killed:
            wait_for((tmp_path / "hung-0").exists)
            killed.append(worker_of(local, local.plan.points[0].server_key))
            kill_when_alive(killed[0], number)

    local.run(Slots([]), at=kill_once)

    died = [message for message in local.told if message["event"] == "worker_died"]
    assert local.verdicts() == ["ok"] * 6
    assert [(message["num_left"], cause in message["cause"]) for message in died] == [(2, True)]
    assert local.left() == []


def test_what_is_left_of_a_group_has_failed_where_its_worker_is_killed_twice(
    plan_local: RunLocal, tmp_path: Path
) -> None:
    hanging = command(hang(tmp_path, 2, SECOND))
    local = plan_local("inference.max_num_seqs=8,16", "workload.repeats=3", hanging)
    first = local.plan.points[0].server_key
    marks = iter([tmp_path / "hung-0", tmp_path / "hung-1"])

    def kill_always(message: Message) -> None:
        of_first = message.get("point") == local.plan.points[0].content_hash
        if message["event"] == "repeat_began" and message["repeat"] == 2 and of_first:
            wait_for(next(marks).exists)
            kill_when_alive(worker_of(local, first))

    local.run(Slots([]), at=kill_always)

    assert local.verdicts() == ["ok", "failed", "failed", "ok", "ok", "ok"]
    assert "SIGKILL" in local.records()[1]["reason"]
    assert "second time" in local.records()[1]["reason"]
    assert local.left() == []


def test_the_slot_of_a_killed_worker_is_not_given_out_while_its_server_stops(
    plan_local: RunLocal, tmp_path: Path
) -> None:
    hanging = command(hang(tmp_path))
    local = plan_local("inference.max_num_seqs=8,16", "server.drain_timeout_s=5", hanging, stop_s=1.0)
    killed: list[int] = []

    def kill_once(message: Message) -> None:
        if message["event"] == "repeat_began" and not killed:
            wait_for((tmp_path / "hung-0").exists)
            killed.append(worker_of(local, local.plan.points[0].server_key))
            kill_when_alive(killed[0])

    local.run(Slots(["a"]), at=kill_once)

    spans = sorted(map(span_of, local.statuses()))
    assert local.verdicts() == ["ok", "ok"]
    assert len(spans) == 3
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def span_of(status: Message) -> tuple[datetime, datetime]:
    """Return from when to when a server lived."""
    return datetime.fromisoformat(status["began_at"]), datetime.fromisoformat(status["since"])


def test_servers_on_shares_of_the_cores_stay_on_them(plan_local: RunLocal) -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    local = plan_local("inference.max_num_seqs=8,16,32,64", command("sleep 2"))
    seen: list[tuple[list[int], list[int]]] = []
    slot_of: dict[str, list[int]] = {}

    def look(message: Message) -> None:
        if message["event"] == "group_began":
            slot_of[message["server_key"]] = list(message["slot"]["cores"])
        if message["event"] == "repeat_began":
            point = next(point for point in local.plan.points if point.content_hash == message["point"])
            files = local.folder.server_folder(point.server_key).glob("*/*/status.json")
            leader = json.loads(next(iter(files)).read_text())["leader"]["pid"]
            seen.append((slot_of[point.server_key], sorted(os.sched_getaffinity(leader))))

    local.run(Slots([], 2, cores=cores[:2]), at=look)

    assert local.verdicts() == ["ok"] * 4
    assert len(seen) == 4
    assert all(own == used and len(used) == 1 for own, used in seen)
    assert {tuple(own) for own, _ in seen} == {(cores[0],), (cores[1],)}


def test_servers_that_run_at_once_share_no_gpu_and_no_port(plan_local: RunLocal) -> None:
    local = plan_local("inference.max_num_seqs=range(1,11)", command("sleep 0.3"))
    held: dict[str, set[str]] = {}
    clashes: list[object] = []
    at_once: list[int] = []

    def look(message: Message) -> None:
        if message["event"] == "group_began":
            slot = message["slot"]
            mine = {f"gpu {gpu}" for gpu in slot["gpus"]} | {f"ports {slot['index']}"}
            clashes.extend(mine & other for other in held.values() if mine & other)
            held[message["server_key"]] = mine
            at_once.append(len(held))
        if message["event"] == "group_ended":
            del held[message["server_key"]]

    local.run(Slots(["0", "1", "2", "3"]), at=look, num_gpus=2)

    assert local.verdicts() == ["ok"] * 10
    assert (clashes, max(at_once)) == ([], 2)


def test_eight_slots_are_kept_busy(plan_local: RunLocal, monkeypatch: pytest.MonkeyPatch) -> None:
    local = plan_local("inference.max_num_seqs=range(1,25)")
    hear, waits = Workers.hear, list[tuple[int, int]]()

    def note_and_hear(workers: Workers) -> Iterator[tuple[Worker, Message | None]]:
        num_ended = sum(message["event"] == "group_ended" for message in local.told)
        waits.append((sum(not worker.is_free for worker in workers._workers), min(8, 24 - num_ended)))
        return hear(workers)

    monkeypatch.setattr(Workers, "hear", note_and_hear)
    local.run(Slots(list("01234567")))

    began = [message for message in local.told if message["event"] == "group_began"]
    assert local.verdicts() == ["ok"] * 24
    assert {message["slot"]["gpus"][0] for message in began} == set("01234567")
    assert [(num_busy, num_possible) for num_busy, num_possible in waits if num_busy != num_possible] == []


def test_a_small_group_does_not_wait_for_a_large_one(plan_local: RunLocal) -> None:
    local = plan_local("inference.max_num_seqs=8,16,32", command("sleep 0.5"))
    one, large, small = local._works(1)
    slots = Slots(["0", "1"])

    with StopSignals() as signals, Workers(local.folder) as workers:
        works = [one, Work(large.server_key, 2, large.repeats), small]
        LocalLauncher(local.folder, workers, slots, signals, local.told.append).run(works)

    began = [message["server_key"] for message in local.told if message["event"] == "group_began"]
    assert began == [one.server_key, small.server_key, large.server_key]
    assert local.verdicts() == ["ok"] * 3


def test_a_group_waits_for_gpus_that_another_sweep_has_and_says_so(plan_local: RunLocal) -> None:
    local = plan_local()
    others = Slots(["0"])
    slot = others.take(1)
    assert slot is not None

    def give_back(message: Message) -> None:
        if message["event"] == "remark":
            others.give_back(slot)

    local.run(Slots(["0"]), at=give_back)

    assert local.told[0]["text"] == "waiting for GPUs that another sweep of yours has"
    assert local.verdicts() == ["ok"]


def test_groups_that_need_more_than_one_that_failed_for_memory_are_not_tried(plan_local: RunLocal) -> None:
    log = Path(__file__).parents[1] / "vllm" / "failures" / "logs" / "kv_below_length.log"
    keys = ("inference.max_model_len=2048,4096,1024", "inference.enforce_eager=true")
    local = plan_local(*keys, die_in="kv_cache", die_log_file=str(log))

    local.run(Slots([]), infeasible=Infeasible(local.folder))

    reasons = [record["reason"] for record in local.records()]
    assert len(local.statuses()) == 2
    assert local.verdicts() == ["failed"] * 3
    assert reasons[1] == "infeasible: point 0 needs less and failed for memory (max-model-len-exceeds-kv-cache)"
    assert not reasons[2].startswith("infeasible")


def test_the_first_failure_ends_a_sweep_that_fails_fast(plan_local: RunLocal) -> None:
    local = plan_local("workload.seed=1,2,3", command("[ $MIXVLLM_SEED = 1 ] && exit 3; sleep 60"))

    local.run(Slots([]), fail_fast=True)

    assert len(local.records()) < 3
    assert local.verdicts()[0] == "failed"
    assert local.left() == []


def test_what_a_stop_interrupts_is_not_recorded(plan_local: RunLocal, tmp_path: Path) -> None:
    hanging = command(hang(tmp_path, condition=SECOND))
    local = plan_local("inference.max_num_seqs=8,16", "workload.repeats=2", hanging)

    def stop(message: Message) -> None:
        if message["event"] == "repeat_began" and message["repeat"] == 2:
            wait_for((tmp_path / "hung-0").exists)
            os.kill(os.getpid(), signal.SIGTERM)

    local.run(Slots([]), at=stop)

    assert local.verdicts() == ["ok"]
    assert local.left() == []
